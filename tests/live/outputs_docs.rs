//! The examples of `src/OUTPUTS.md`, run as they stand there: the section's config, its commands
//! and what they are said to print. Names and ports of the page are replaced by some of this test.
//!
//! Commands whose programs are missing are passed over with a word, unless
//! `DEMEANOR_REQUIRE_TOOLS` is set.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use crate::support::*;
use broker::*;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const CONFIG: &str = "[notice]\nacknowledged = true\npurpose = \"a test\"\nsetting = \"public\"\n\
    [audio]\nsource = \"none\"\n[text]\nsource = \"stdin\"\nwait = 0.0\n\
    [decision]\ntasks = [\"emotion\"]\nexplain = true\n\
    [indicator]\nled = \"none\"\n[button]\nline = \"none\"\n";

/// A block of the page.
struct Block {
    /// `sh`, `toml`, or `text` for what the commands above it print.
    kind: String,
    text: String,
}

/// Sections of the page about one output each, by name, with their blocks.
fn sections(page: &str) -> Vec<(String, Vec<Block>)> {
    let sections = page.split("\n## ").skip(1);
    let named = sections.filter_map(|section| {
        let name = section.strip_prefix("`[")?.split_once("]`")?.0;
        let fenced = section.split("```").skip(1).step_by(2);
        let blocks = fenced.map(|block| {
            let (kind, text) = block.split_once('\n').unwrap();
            Block {
                kind: kind.to_owned(),
                text: text.to_owned(),
            }
        });
        Some((name.to_owned(), blocks.collect()))
    });
    named.collect()
}

/// Programs that commands begin with.
fn programs(commands: &str) -> Vec<String> {
    // what stands in quotes is no command, nor is a remark
    let plain: String = commands.split('\'').step_by(2).collect();
    let plain = plain.lines().filter_map(|line| line.split(" #").next());
    let plain = plain.collect::<Vec<_>>().join("\n");
    let parts = plain.split(['|', '\n', ';']).flat_map(|p| p.split("&&"));
    let first = parts.filter_map(|part| part.split_whitespace().next());
    first
        .filter(|word| !word.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether a line is as the page says, where `…` stands for anything.
fn is_like(line: &str, said: &str) -> bool {
    let mut parts = said.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let at = match parts.peek() {
            Some(_) => rest.find(part),
            None => rest.ends_with(part).then(|| rest.len() - part.len()),
        };
        let Some(at) = at else { return false };
        rest = &rest[at + part.len()..];
    }
    said.contains('…') || rest.is_empty()
}

/// Commands of the page, with all that they start.
struct Shell(Child);

impl Shell {
    fn start(commands: &str) -> (Shell, Lines) {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-ec", commands]).process_group(0);
        let shell = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut shell = Shell(shell.unwrap());
        let lines = Lines::of(shell.0.stdout.take().unwrap());
        (shell, lines)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.0.wait();
    }
}

/// A run with the config of a section, and where its outputs are.
struct Section {
    name: String,
    folder: Folder,
    port: u16,
    _broker: Option<Running>,
}

impl Section {
    fn new(name: &str) -> Option<Section> {
        let broker = match name {
            "mqtt" => Some(mosquitto()?),
            _ => None,
        };
        let (broker, port) = broker.map_or((None, free_port()), |(b, port)| (Some(b), port));
        Some(Section {
            name: name.to_owned(),
            folder: Folder::new(),
            port,
            _broker: broker,
        })
    }

    /// A text of the page, with names and ports that this test has.
    fn here(&self, text: &str) -> String {
        let own = fs::metadata(self.folder.path("")).unwrap();
        let group = std::os::unix::fs::MetadataExt::gid(&own);
        let port = self.port;
        text.replace(
            "/run/demeanor",
            self.folder.path("").to_str().unwrap().trim_end_matches('/'),
        )
        .replace("\"kiosk\"", &format!("\"{group}\""))
        .replace("localhost:8642", &format!("localhost:{port}"))
        .replace("127.0.0.1:8642", &format!("127.0.0.1:{port}"))
        .replace("-h hub.local", &format!("-h 127.0.0.1 -p {port}"))
        .replace("//hub.local\"", &format!("//127.0.0.1:{port}\""))
    }

    /// Runs the section's commands one after another while somebody speaks.
    fn try_all(&self, blocks: &[Block]) -> usize {
        let config = blocks.iter().find(|block| block.kind == "toml").unwrap();
        let config = format!("{CONFIG}{}", self.here(&config.text));
        let config = self.folder.file("run.toml", config);
        let mut child = command(&["run", "--config", &config, "--json"]);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = Running(child.unwrap());
        let mut words = child.0.stdin.take().unwrap();
        let out = Lines::of(child.0.stdout.take().unwrap());
        out.wait(&["\"text\"", "\"capturing\""]);
        let mut tried = 0;
        for (at, block) in blocks.iter().enumerate() {
            if block.kind == "sh" && self.has_all(&block.text) {
                let printed = blocks.get(at + 1).filter(|next| next.kind == "text");
                self.try_one(block, printed, &mut words);
                tried += 1;
            }
        }
        if self.name == "mqtt" && tried > 0 {
            // the last command mutes
            out.wait(&["\"remote\"", "\"muted\""]);
        }
        drop(words);
        assert_eq!(child.exit_code(), Some(0), "{}", self.name);
        tried
    }

    fn has_all(&self, commands: &str) -> bool {
        let missing = programs(commands)
            .into_iter()
            .find(|program| !is_there(program));
        if let Some(program) = &missing {
            let lacking = format!("there is no {program}: an example of [{}]", self.name);
            assert!(
                std::env::var_os("DEMEANOR_REQUIRE_TOOLS").is_none(),
                "{lacking}"
            );
            eprintln!("{lacking} was not tried");
        }
        missing.is_none()
    }

    /// Commands print what the page says, or do well where it says nothing.
    fn try_one(&self, block: &Block, printed: Option<&Block>, words: &mut ChildStdin) {
        let (mut shell, lines) = Shell::start(&self.here(&block.text));
        let Some(printed) = printed else {
            assert!(shell.0.wait().unwrap().success(), "{}", block.text);
            return;
        };
        let (begun, mut heard) = (Instant::now(), Vec::new());
        let mut wanted = printed.text.lines().peekable();
        while let Some(next) = wanted.peek() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{}: no {next}: {heard:#?}",
                block.text
            );
            for line in lines.rest() {
                wanted.next_if(|wanted| is_like(&line, wanted));
                heard.push(line);
            }
            writeln!(words, "this makes me very happy").unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn examples_of_the_page_do_what_it_says() {
    if is_emulated() {
        return eprintln!("the page is the same on every machine: it was tried on another");
    }
    let page = fs::read_to_string(repo("src/OUTPUTS.md")).unwrap();
    let sections = sections(&page);
    for name in ["socket", "http", "mqtt"] {
        let (_, blocks) = sections
            .iter()
            .find(|(found, _)| found == name)
            .expect(name);
        let Some(section) = Section::new(name) else {
            continue;
        };
        let examples = blocks.iter().filter(|block| block.kind == "sh").count();
        assert!(examples > 0, "[{name}] has no example");
        let tried = section.try_all(blocks);
        println!("[{name}]: {tried} of {examples} examples");
    }
}

#[test]
fn dots_of_the_page_stand_for_anything() {
    for (line, said, is) in [
        ("emotion happy", "emotion happy", true),
        ("emotion happy now", "emotion happy", false),
        (
            "data: {\"a\":1,\"label\":\"happy\"}",
            "data: {…\"label\":\"happy\"…}",
            true,
        ),
        (
            "data: {\"label\":\"sad\"}",
            "data: {…\"label\":\"happy\"…}",
            false,
        ),
        ("a b a c", "a…a c", true),
    ] {
        assert_eq!(is_like(line, said), is, "{line} / {said}");
    }
}
