"""A node that reads, by Cyclone DDS, and knows of demeanor nothing but ROS's definitions.

    dds.py DOMAIN [PEER]

Without PEER it finds others as Cyclone DDS is used to; with it, it stays on 127.0.0.1, uses no
multicast, and announces itself to PEER, a port there, as well. One line a message on standard
output: the topic, the type, and the message as JSON. `found` where somebody is there whom it may
read. A face or a voice is read from when its `tracked` names it, as ROS4HRI's own library does.
"""
import dataclasses
import json
import os
import sys
import time
import types

if len(sys.argv) > 2:
    os.environ["CYCLONEDDS_URI"] = f"""<CycloneDDS><Domain>
        <General><AllowMulticast>false</AllowMulticast>
        <Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces></General>
        <Discovery><ParticipantIndex>auto</ParticipantIndex><Peers>
        <Peer Address="127.0.0.1"/><Peer Address="127.0.0.1:{sys.argv[2]}"/>
        </Peers></Discovery>
        <Tracing><Verbosity>none</Verbosity></Tracing></Domain></CycloneDDS>"""

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl import types as idl
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from rosbags.interfaces import Nodetype

from definitions import TOPICS, of_tracked, store, told

BASIC = {
    "bool": bool,
    "float32": idl.float32,
    "int32": idl.int32,
    "uint32": idl.uint32,
    "uint8": idl.uint8,
    "byte": idl.uint8,
    "octet": idl.uint8,
    "string": str,
}
made = {}


def field(of):
    node, what = of
    if node == Nodetype.BASE:
        return BASIC[what[0]]
    if node == Nodetype.NAME:
        return struct(what)
    assert node == Nodetype.SEQUENCE, of
    return idl.sequence[field(what[0])]


def struct(kind):
    """The type as DDS calls it, from ROS's definition."""
    if kind not in made:
        package, _, name = kind.split("/")
        fields = {name: field(of) for name, of in store.get_msgdef(kind).fields}
        body = {"__annotations__": fields, "__module__": __name__}
        typename = f"{package}::msg::dds_::{name}_"
        built = types.new_class(name, (IdlStruct,), {"typename": typename}, lambda to: to.update(body))
        made[kind] = dataclasses.dataclass(built)
    return made[kind]


# as `ros2 topic echo` reads
QOS = Qos(
    Policy.Reliability.Reliable(duration(seconds=1)),
    Policy.Durability.Volatile,
    Policy.History.KeepLast(100),
)
participant = DomainParticipant(int(sys.argv[1]))
readers = {}


def read(topics):
    for topic, kind in topics.items():
        if topic not in readers:
            of = Topic(participant, "rt" + topic, struct(kind))
            readers[topic] = kind, DataReader(participant, of, qos=QOS)


read(TOPICS)
told("ready")
found = False
while True:
    if not found and readers["/demeanor/events"][1].get_matched_publications():
        found = True
        told("found")
    for topic, (kind, reader) in list(readers.items()):
        for message in reader.take(100):
            if hasattr(message, "sample_info") and not message.sample_info.valid_data:
                continue
            told(topic, kind, json.dumps(dataclasses.asdict(message)))
            read(of_tracked(topic, message))
    time.sleep(0.02)
