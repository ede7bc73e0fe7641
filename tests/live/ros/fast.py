"""A node that reads, by Fast DDS, and takes messages apart as ROS defines them.

    fast.py [DOMAIN]

Its lines are those of `dds.py`. The half in C++ is compiled first, into this Python's environment;
without DOMAIN that is all. It stays on 127.0.0.1.
"""
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from definitions import TOPICS, of_tracked, store, told

source = pathlib.Path(__file__).with_suffix(".cpp")
program = pathlib.Path(sys.prefix, "fast-dds")
if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
    half = program.with_suffix(f".{os.getpid()}")
    libraries = ["-lfastrtps", "-lfastcdr"]
    subprocess.run(["c++", "-std=c++17", source, "-o", half, *libraries], check=True)
    half.rename(program)
if len(sys.argv) == 1:
    sys.exit()
node = subprocess.Popen(
    [program, sys.argv[1]], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
kinds = {}


def read(topics):
    for topic, kind in topics.items():
        if topic not in kinds:
            kinds[topic] = kind
            package, _, name = kind.split("/")
            print(topic, f"{package}::msg::dds_::{name}_", file=node.stdin, flush=True)


read(TOPICS)
told("ready")
for line in node.stdout:
    topic, _, data = line.strip().partition(" ")
    if topic == "found":
        told("found")
        continue
    message = store.deserialize_cdr(bytes.fromhex(data), kinds[topic])
    told(topic, kinds[topic], json.dumps(dataclasses.asdict(message)))
    read(of_tracked(topic, message))
