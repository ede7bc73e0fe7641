"""A rosbridge that believes nothing: whatever is published is made a message of its type, as
rosbags knows it, and written as CDR and read back. What rosbridge would refuse, ends it.

    bridge.py PORT

One line a message on standard output: the topic, the type, and the message as JSON. `gone TOPIC`
where a topic is given back, `left` when a client says goodbye.
"""
import json
import math
import sys

from rosbags.interfaces import Nodetype
from websockets.sync.server import serve

from definitions import store

WHOLE = {"byte": 8, "uint8": 8, "uint32": 32, "int32": 31}


def base(kind, value):
    """A value of a basic type, of the Python type that rosbridge asks for."""
    if kind in ("float32", "float64"):
        assert type(value) in (int, float), f"{value!r} is no {kind}"
        return float(value)
    if kind in ("string", "bool"):
        assert type(value) is {"string": str, "bool": bool}[kind], f"{value!r} is no {kind}"
        return value
    assert type(value) is int and 0 <= value < 2 ** WHOLE[kind], f"{value!r} is no {kind}"
    return value


def made(of, value):
    """The value of a field: basic, a message, or a list of them."""
    node, what = of
    if node == Nodetype.BASE:
        return base(what[0], value)
    if node == Nodetype.NAME:
        return message(what, value)
    assert node == Nodetype.SEQUENCE and type(value) is list, f"{value!r} is no list"
    return [made(what[0], item) for item in value]


def message(kind, fields):
    """A message; one that lacks a field would hold a zero there."""
    definition = store.get_msgdef(kind)
    names = [name for name, _ in definition.fields]
    assert list(fields) == names, f"{kind} has {names}, not {list(fields)}"
    return definition.cls(**{name: made(of, fields[name]) for name, of in definition.fields})


def same(one, other):
    """Whether two messages are the same, to the precision of a float32."""
    if isinstance(one, float):
        both = math.isnan(one) and math.isnan(other)
        return both or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__msgtype__"):
        names = [name for name, _ in store.get_msgdef(one.__msgtype__).fields]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return one == other


def told(*words):
    # in one piece, whoever else talks
    print(" ".join(map(str, words)) + "\n", end="", flush=True)


def talk(socket):
    """One client, until it leaves."""
    types = {}
    for text in socket:
        # as rosbridge does: Python's JSON knows NaN
        said = json.loads(text)
        topic = said["topic"]
        if said["op"] == "advertise":
            assert topic not in types, f"{topic} is announced twice"
            package, sub, name = said["type"].split("/")
            assert sub == "msg" and package and name, said
            types[topic] = said["type"]
        elif said["op"] == "unadvertise":
            del types[topic]
            told("gone", topic)
        else:
            assert said["op"] == "publish", said
            kind = types[topic]
            built = message(kind, said["msg"])
            read = store.deserialize_cdr(store.serialize_cdr(built, kind), kind)
            assert same(built, read), f"{built} is read as {read}"
            told(topic, kind, json.dumps(said["msg"]))
    told("left")


def handle(socket):
    try:
        talk(socket)
    except Exception as e:  # noqa: BLE001: whoever listens hears of each
        told("REFUSED", type(e).__name__, e)


with serve(handle, "127.0.0.1", int(sys.argv[1])) as server:
    told("ready")
    server.serve_forever()
