//! What `--help` says: of the program, and of each command.

pub(super) const HELP: &str = "\
demeanor: emotion, sentiment and expression on the board, int8, no cloud

usage: demeanor COMMAND [OPTIONS]

  analyze FILE…      what recordings, pictures and words express
  transcribe FILE…   what is said in recordings, in words and times
  run                listen and look, and answer as people speak
  eval               measure the bundle on a labelled table
  adapt              teach heads your place, people and classes; measure; write a bundle
  calibrate          measure a place's ordinary background, and set the gates by it
  models             which bundles there are, verified, and what multiplies in them
  bench              how long the models take here, and how much of the machine they use
  fusion             the fusion operators: equations, shapes, costs
  doctor             whether this machine can do what is asked of it
  devices            audio inputs and boards

`demeanor COMMAND --help` says more. Events are JSON lines when piped or with --json.
RUST_LOG=info|debug says more on standard error; DEMEANOR_ISA=LEVEL holds the kernels to
scalar, neon, neon-dot, neon-i8mm, avx2, avx-vnni or avx512-vnni.
Exit status: 0 done, 1 nothing recognised, 2 error.";

pub(super) const ANALYZE: &str = "\
usage: demeanor analyze [FILE…] [OPTIONS]

FILE is a recording (WAV, Ogg/Opus), a picture (JPEG, PNG), a film of them (MJPEG, AVI), a folder
of pictures, or `-` for either on standard input. A recording's words are --text, --words, or the file beside it of
the same name ending in .txt, .srt or .vtt (talk.txt or talk.wav.txt for talk.wav). Words
without times belong to the whole recording, words with times to a part of it: lines
`START END text` (seconds), subtitles (SRT, WebVTT), or what whisper and vosk write (lines,
TSV, CSV, JSON). A picture is looked at together with --text.

  --text TEXT        the words; without FILE they are judged alone
  --seen LIST        what the picture shows, in words: used instead of naming it (sarcasm)
  --bank DIR         a folder of memory banks instead of the bundle's own (sarcasm)
  --tasks LIST       of emotion, sentiment, expression, sarcasm, entities, words; default:
                     emotion of recordings and words, all but `words` of pictures
  --expressions-only the same as --tasks expression: what faces show, no emotion inferred
  --annotate FILE    draws what was seen in the one picture, as .html or .png
  --words FILE       the words, from a file
  --recogniser DIR   hears the words where none are given; DIR as `transcribe` takes it. Events
                     say that their words are recognised, and how certain
  --recognised-words tells these words, too
  --channel CHANNEL  of a recording with several: a number from 0, `mix` for their mean, or
                     `best` for the one with the voice (the default)
  --history TEXT     an utterance said before; may be given several times, oldest first
  --explain          adds the tokens and frames that speak for the answer
  --all              judges sound in which nobody seems to speak, too
  --smooth SECONDS   half-life of smoothing over utterances (0: off, the default)
  --unsure-below P   top scores below P are `unsure` (default: the bundle's)
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --threads N        cores that share the large kernels, 1 to 8 (default 1)
  --json             JSON lines even on a terminal";

pub(super) const TRANSCRIBE: &str = "\
usage: demeanor transcribe FILE… --recogniser DIR [OPTIONS]

What is said in recordings (WAV, Ogg/Opus, `-` for either on standard input), in English: a line
`START END text` an utterance, in seconds, as soon as it is over; what `analyze --words` reads.
Nothing of the sound is kept or sent. Where nobody speaks there is no line, and words that are too
uncertain are left out. DIR is the recogniser's bundle, which is not built in:
models/recipes/run.py recognition makes it.

  --recogniser DIR   needed: the bundle
  --channel CHANNEL  of a recording with several: a number from 0, `mix` for their mean, or
                     `best` for the one with the voice (the default)
  --threads N        cores that share the large kernels, 1 to 8 (default 1)
  --json             a JSON line an utterance, with words or without: verdict (words, doubtful,
                     no words), confidence, probability of no speech, what a guard cut, ms, those
                     of the encoder, and the steps of the decoder

Exit status: 0 done, 1 no words, 2 error.";

pub(super) const RUN: &str = "\
usage: demeanor run --config FILE [OPTIONS]

  --config FILE      needed: holds the [notice] that people are given
  --audio SOURCE     a device's name, a WAV or Ogg/Opus file, `-` for a WAV on standard
                     input, or `none`; default: the config's, then the board's
  --camera SOURCE    /dev/video0, a file or folder of pictures, `-` for a stream of JPEGs
                     on standard input, `board` for the board's own, or `none`; default: the config's
  --text-stdin       lines on standard input are words: `text` (said just now), or with
                     seconds of the stream `START END text`; whisper's and vosk's lines and
                     subtitles as well. What is none of these is passed over and told
  --tasks LIST       of emotion, sentiment, expression, sarcasm, entities, words; default: all
                     but `words` that have an input
  --expressions-only the same as --tasks expression: what faces show, no emotion inferred
  --board NAME       board profile; default: the one that the device tree names, else host
  --explain          adds the tokens and frames that speak for the answer
  --all              judges sound in which nobody seems to speak, too
  --recogniser DIR   hears the words where none are given; default: the config's, or none
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --threads N        cores that share the large kernels, 1 to 8 (default 1)
  --json             JSON lines even on a terminal

The config (TOML):
  [notice]                    # required: nothing is captured before people are told
  acknowledged = true
  purpose = \"what it is for\"
  setting = \"public\"          # research, medical, safety, workplace, education
  [audio]
  source = \"default\"
  channel = \"best\"            # or mix, or a number from 0; default: the board's
  # ignore_while = \"/run/demeanor/speaking.sock\"   # not judged while a program is connected: the
  #                           # device's own voice; or { channel = 5 }: while its loudspeaker's sounds
  [camera]
  source = \"/dev/video0\"      # or board, none, a file or folder, -
  # command = [\"rpicam-vid\", \"-n\", \"-t\", \"0\", \"--codec\", \"mjpeg\", \"-o\", \"-\"]
  # format = \"mjpeg\"          # or i420, with width, height and stride
  every = 0.5                 # least seconds between two looks; default: the board's
  [text]
  source = \"none\"             # or stdin
  wait = 1.0                  # seconds that an utterance waits for its words
  forget = 60.0               # seconds of silence that end a dialogue
  # recogniser = \"/usr/share/demeanor/whisper-tiny-en\"   # hears words that nobody gives
  # in_events = true          # events carry those words
  [decision]
  smooth = 3.0                # half-life in seconds, 0 = off
  unsure_below = 0.4          # default: the bundle's
  # partial = 1.0             # tells what was heard so far after each second of speech
  explain = false
  # tasks = [\"expression\"]
  [indicator]                 # lit before the first sample; what cannot be lit stops capture
  led = \"board\"               # or none, { chip = \"label\", line = 17, active_low = false }
  [button]
  line = \"board\"              # or none, { chip = \"label\", line = 27, active_low = true }
  means = \"mute\"              # or consent: nothing is opened before a press
  debounce = 0.02
  [entities]
  words = false               # true: events carry the names that people said
  [audit]                     # when capture was on; never what was heard or seen
  file = \"/var/lib/demeanor/audit.jsonl\"
  [metrics]                   # for node_exporter's text collector
  file = \"/run/demeanor/demeanor.prom\"
  every = 15.0
  [aggregate]                 # counts of labels instead of answers; none without the section
  minutes = 5
  at_least = 5                # fewer answers are counted on into the next window
  [socket]                    # events for programs of this machine; none without the section
  path = \"/run/demeanor/events.sock\"
  mode = \"0660\"               # who may connect
  # group = \"kiosk\"
  words = false               # true: words that people said go out, too
  [http]                      # a page, live events and figures; none without the section
  listen = \"127.0.0.1:8642\"   # beyond this machine only with a token
  # token_file = \"/etc/demeanor.token\"
  # hosts = [\"kiosk.local\"]   # further names by which browsers reach it
  mute = true                 # the page may mute; it never undoes a press
  words = false
  [mqtt]                      # a broker, and Home Assistant; none without the section
  broker = \"mqtt://hub.local\" # \"mqtts://…\" with ca, cert and key for TLS
  # user, password_file, version = \"3.1.1\", group, expire = 60, discovery = \"none\"
  publish = [\"labels\", \"state\", \"health\"]  # or \"scores\", \"faces\", \"voices\"
  mute = true                 # who may publish there may mute; it never undoes a press
  words = false
  [ros]                       # a robot, by rosbridge; none without the section
  bridge = \"ws://robot.local:9090\"  # or domain = 0 (and address) for DDS
  publish = [\"labels\", \"state\", \"health\"]  # or \"scores\", \"faces\", \"voices\"
  words = false

SIGUSR1 is a press of the button. SIGTERM answers what was heard and ends.";

pub(super) const EVAL: &str = "\
usage: demeanor eval --task TASK --data FILE.csv [OPTIONS]

TASK and the columns of FILE.csv (paths are relative to it; an empty cell means that the
modality is absent):
  emotion            id,audio,text,label and optionally speaker,history (a JSON list, or
                     utterances parted by ` | `)
  sentiment          id,image,text,label
  sarcasm            id,text,label (`sarcastic` or `not sarcastic`) and optionally image, and
                     attributes (words for what the picture shows, used instead of it)
  expression         id,image,label; or, instead of label, the taggers' votes neutral,
                     happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF, of
                     which the one with most counts; the whole picture is the face
  entities           id,image,text,entities: a JSON list of [start, end, type] in characters from
                     0, a box [left, top, right, bottom] perhaps behind; or, of another ending
                     than .csv, CoNLL: TOKEN tab TAG a line, an empty line behind each text,
                     `IMGID:` before it
  grounding          image,phrase,status,boxes_224 and optionally types: where pictures, in
                     `images/` beside the table, show what a phrase names. status is box, or
                     nobox, none or scene where there is nothing to point at; boxes are
                     LEFT,TOP,RIGHT,BOTTOM parted by semicolons, the picture being 224 x 224
  recognition        id,audio,text and optionally label: word error rate of the recogniser in
                     --models; an empty text says that nobody speaks

  --map A=B,C=D      renames labels before they are looked up
  --reference DIR    the recipe's fp32 bundle, evaluated beside the shipped one
  --train FILE.csv   the table that the weights were trained on: items whose words or pixels
                     stand in it are counted, and all figures are given without them too
                     (sentiment, expression)
  --fusion DIR       every operator of the fusion catalogue on the same features; DIR holds
                     a head of each, from models/recipes/catalogue/train.py (sentiment)
  --images DIR       where the pictures of texts lie that name none, ID.jpg each (entities)
  --picture-words FILE.csv
                     what others saw in the pictures, instead of these: imgid or id, and
                     caption_blip2, words or caption (entities)
  --detect           finds the face first (expression)
  --no-history       leaves the history out (emotion)
  --degrade LIST     judges worse copies of each item beside it: dark:FACTOR, blur:PIXELS of
                     images, snr:DECIBELS of voices; a line each, such as snr:0,snr:-5
  --noise FILE       a recording mixed in for snr; may be given several times
  --bank DIR         a folder of memory banks instead of the bundle's own (sarcasm)
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --threads N        workers (default: all cores)
  --json             one JSON object";

pub(super) const ADAPT: &str = "\
usage: demeanor adapt --task TASK --data FILE.csv --out DIR [OPTIONS]

Learns from labelled items of your own: the columns are those of `eval`, and `group` (or
`speaker`), who or where each item is from. At least ten items of each class, each class in two
groups. The trunks stay; each head that answers gets a linear map of their rows beside it, as
strong as cross-validation over groups finds best. Figures before and after are of groups that
no head had seen. DIR becomes a bundle for --models of analyze, run and eval. Where no head is
better than before by more than chance nothing is written, and the exit status is 1.

  --classes LIST     the classes, parted by commas: shipped ones or your own; rows of others are
                     skipped. Default: all labels of the table, or the shipped classes if it
                     has no other
  --map A=B,C=D      renames labels before they are looked up
  --detect           finds the face first (expression); default: the whole picture is the face
  --whole            copies the trunks into DIR, too; default: they stay those of this binary
  --force            writes the bundle even if it is no better
  --models DIR       a bundle, or a folder of bundles, to start from instead of the built-in ones
  --threads N        workers that read the items (default 1)
  --json             one JSON object

Nothing of an item is kept: the bundle holds weights, and figures on its card (CARD.md).";

pub(super) const CALIBRATE: &str = "\
usage: demeanor calibrate --config FILE [OPTIONS]

Listens and looks for a while at a place where nobody speaks to the device or looks at it, with
notice, lamp and mute as `run` does, and sets how sure the gates must be that somebody speaks and
that a find is a face, and where that is not enough a level floor, so that such background
causes at most so many false answers. The config gets a table [calibration], which `run` obeys for
the same microphone and camera, and `doctor` checks. No sound and no picture is kept: counts and
probabilities alone.

  --config FILE      needed: the config of `run`, which is completed
  --minutes M        time with open sources (default 10)
  --false-answers N  allowed an hour (default 1)
  --people           afterwards, with people who use the device as they will: measures what is usual
                     of its answers, 100 at least, so that `run` tells when they drift from it
  --audio SOURCE     as for `run`
  --camera SOURCE    as for `run`
  --board NAME       board profile; default: the one that the device tree names, else host
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --threads N        cores that share the large kernels, 1 to 8 (default 1)
  --json             JSON lines even on a terminal";

pub(super) const BENCH: &str = "\
usage: demeanor bench [OPTIONS]

Without --onnx: every model of the bundles, at 4 s of sound (T=400) and 64 tokens (N=64),
and the stages around them. Median, 95th and 99th percentile of the runs, and what the board
says of itself before and after: temperature, clock, throttling, power.

  --onnx FILE        this model; may be given several times
  --dim NAME=SIZE    size of a named dimension; may be given several times
  --seconds S        of each measurement (default 1)
  --runs N           of each measurement instead, behind the two that look at the model: for perf,
                     callgrind and others that count from outside
  --threads N        cores that share the large kernels, 1 to 8 (default 1)
  --engine ENGINE    ours (default), or tract: the same file in tract alone
  --profile          median time of every step, longest first
  --compare FILE     an earlier --json: ratios to it
  --compare A B      two of them, without measuring: before, after and ratio
  --instructions     the figures are instruction counts: in `qemu -icount shift=0,sleep=off`,
                     whose clock goes on by one nanosecond for each
  --input NAME=FILE  content of an input, as .npy (floats, integers or bool)
  --output DIR       writes the outputs there, as .npy
  --decision         a whole decision instead: sound, picture and words to the events of
                     every task, the first one and those that follow, with its stages
  --fusion           the fusion catalogue instead: every operator at the sizes of heads, its
                     share of what this machine can do, and tract on the same equation
  --operator NAME    of those, the functions whose name holds NAME
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --json             one JSON object";

pub(super) const FUSION: &str = "\
usage: demeanor fusion [OPTIONS]

The fusion operators of this build: equation, shapes, weights.

  --page             the documentation page (src/fusion/CATALOGUE.md)
  --json             everything the registry knows, as one JSON object";

pub(super) const MODELS: &str = "\
usage: demeanor models [OPTIONS]

  --plan             which node of every model runs in which kernel, and what tract runs
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --onnx FILE        this model instead of bundles; may be given several times
  --dim NAME=SIZE    size of a named dimension of it; may be given several times";

pub(super) const DOCTOR: &str = "\
usage: demeanor doctor [OPTIONS]

One line a check: ok, - (nothing to check), warn or FAIL, with what to do. Nothing is captured
and no lamp is lit. Exit status: 0 healthy (warnings allowed), 2 not; RAUC and Mender can take
it for a health check.

  --config FILE      the config of `run`: its notice, devices and files are checked as well
  --board NAME       board profile (default: found out, or host)
  --models DIR       a bundle, or a folder of bundles, instead of the built-in ones
  --json             one JSON object";
