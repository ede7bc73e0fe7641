"""Sentences as people say them to a kiosk or a robot, spoken by a synthesiser: words that no set holds."""

import csv
import subprocess
from pathlib import Path

VOICES = ("en-us", "en-gb+f3")
# words that everybody uses, and names of things, places and people that few do
KIOSK = """Good morning, where can I find the toilets?
I would like two tickets for the next train.
Could you please say that again?
My card does not work in this machine.
How long do I have to wait here?
This is the best day of my life!
I am really sorry, I did not mean to do that.
Can you show me the way to the main entrance?
Why does nobody help me?
The lift is broken again and I cannot walk.
What time does the museum close tonight?
I have lost my bag on the second floor.
Thank you so much, you have been very kind.
Please call somebody, my father does not feel well.
I want to talk to a real person now.
Is there a quiet place where we can sit down?
The coffee is cold and far too expensive.
We are looking for the children's department.
That was the funniest thing I have seen all week.
Do you speak any other language?
I paid already, look at the receipt.
Turn the music down, it is far too loud.
Are you going to be here tomorrow as well?
I never want to come back to this place."""
RARE = """The archaeologist brushed gravel from a bronze amulet.
Cinnamon and cardamom improve the lukewarm porridge.
A heron waded through the brackish estuary.
Our cardiologist recommended magnesium and rhubarb.
The harpsichord needs a new soundboard before Whitsun.
Seventeen accordionists rehearsed beneath the viaduct.
Please deliver the chrysanthemums to Marjorie Pemberton.
The cobbler mended her suede moccasins overnight.
Lichen covered the parapet of the abandoned monastery.
He juggled satsumas while reciting limericks.
The plumber soldered the cistern with a blowtorch.
Nightingales nested behind the dilapidated observatory.
Her apprentice varnished the mahogany banister.
A flotilla of dinghies drifted past Lowestoft.
The vet prescribed ointment for our whippet.
Gwendolyn embroidered a crimson tapestry for the abbey.
Tectonic tremors rattled the greenhouse in Reykjavik.
The curator catalogued fossils of extinct molluscs.
They quarrelled about the thermostat in the conservatory.
Bartholomew ordered haddock, parsnips and horseradish.
The glazier replaced a pane above the vestibule.
Pomegranate syrup dripped onto the crocheted doily.
An aqueduct supplied the gristmill near Shrewsbury.
The ventriloquist misplaced his monocle in Ljubljana."""


def espeak(text: str, voice: str, speed: int, *where: str) -> bytes:
    """Speaks `speed` words a minute into what `where` says; gives what is written to standard output."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdin", *where]
    try:
        return subprocess.run(command, check=True, input=text.encode(), stdout=subprocess.PIPE).stdout
    except FileNotFoundError:
        raise SystemExit("espeak-ng is missing; apt-get install espeak-ng")


def speak(folder: Path) -> Path:
    """A table of 96 clips for `demeanor eval --task recognition`; what is there is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, sentences in (("kiosk", KIOSK), ("rare", RARE)):
        for i, text in enumerate(sentences.splitlines()):
            for v, voice in enumerate(VOICES):
                clip = f"{label}-{i:02}-{v}.wav"
                if not (folder / clip).exists():
                    espeak(text, voice, 150, "-w", str(folder / clip))
                rows.append({"id": clip.removesuffix(".wav"), "audio": clip, "text": text, "label": label})
    table = folder / "sentences.csv"
    with open(table, "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table
