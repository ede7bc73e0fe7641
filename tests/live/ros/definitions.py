"""Topics and definitions of messages, as ROS has them."""
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

# hri_msgs 2.3, which no store has
HRI = {
    "IdsList": "std_msgs/Header header\nstring[] ids\n",
    "Expression": "std_msgs/Header header\nstring expression\nfloat32 valence\n"
    "float32 arousal\nfloat32 confidence\n",
    "NormalizedRegionOfInterest2D": "std_msgs/Header header\nfloat32 xmin\nfloat32 ymin\n"
    "float32 xmax\nfloat32 ymax\nfloat32 c\n",
}

store = get_typestore(Stores.ROS2_JAZZY)
for name, definition in HRI.items():
    store.register(get_types_from_msg(definition, f"hri_msgs/msg/{name}"))

TOPICS = {
    "/demeanor/events": "std_msgs/msg/String",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    "/humans/faces/tracked": "hri_msgs/msg/IdsList",
    "/humans/voices/tracked": "hri_msgs/msg/IdsList",
}


OF_ONE = {
    "/humans/faces/tracked": {
        "expression": "hri_msgs/msg/Expression",
        "roi": "hri_msgs/msg/NormalizedRegionOfInterest2D",
    },
    "/humans/voices/tracked": {"is_speaking": "std_msgs/msg/Bool"},
}


def of_tracked(topic, message):
    """The topics of the faces or voices that a message on their `tracked` names, and their types."""
    root = topic.removesuffix("tracked")
    kinds = OF_ONE.get(topic, {})
    ids = message.ids if kinds else []
    return {f"{root}{one}/{name}": kind for one in ids for name, kind in kinds.items()}


def told(*words):
    # in one piece, whoever else talks
    print(" ".join(map(str, words)) + "\n", end="", flush=True)
