"""Definitions of messages, as ROS has them."""
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
