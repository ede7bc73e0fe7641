"""Reference vectors for word shapes: strings of our own, and what the text trunk reads of them.

Writes [{"text", "ids", "types", "starts"}] as `trunk.data.encode` gives them, [CLS] and [SEP]
left out; `starts` are the places of the pieces' first characters, in Unicode scalar values.
`--work` is a folder where emotion was prepared.
"""

import json

from common.stages import Places
from emotion import text_data
from references.wordpiece import ACCENTS, EASTERN, EMOJI, INVISIBLE, PUNCTUATION, made_up
from trunk import data as td

NAMES = """
Kevin Durant enters Oracle Arena.|RT @KDTrey5: #NBA's MVP is iPhone-made, O'Neill's McDonald's|U.S. vs. the EU|I|a I B
LONDON calling, London's Calling|@united (#United) "United" 'united'|eBay's CEO e-mailed NASA/ESA|ALL CAPS and lower and MiXeD
😀Paris😀 🏳️‍🌈Berlin 🇫🇷France|Zoe\u0308 and E\u0301COLE and e\u0301cole|ÉCOLE Ñandú SÃO Paulo Ångström|Ⓐ ⅠⅤ Ⅳa ⒶB
שלום London עולם|قال Obama في Washington|\u202eLondon\u202c Paris|مُحَمَّد MO Salah|दिल्ली DELHI|東京Tokyo 東京TOKYO Tower
Привет МИР Мир|Αθήνα ΑΘΗΝΑ|ǅungla ǅUNGLA|ßTRASSE ẞ|İstanbul ISTANBUL ıstanbul|ﬁre ﬂOW|ა Ა ᏣᎳᎩ ꭰ|Ⴀ Æ æ Œ|ʰA ªB ºc
""".strip().replace("\n", "|").split("|")


def write(at: Places) -> None:
    tok = text_data.tokenizer(at.work)
    lines = []
    for text in dict.fromkeys(NAMES + PUNCTUATION + ACCENTS + EASTERN + EMOJI + INVISIBLE + made_up(60)):
        made = tok.encode(text, add_special_tokens=False)
        found = td.encode(tok, text)
        if len(found.ids) != len(made.ids) + 2:
            raise SystemExit(f"{text!r} is longer than the trunk takes")
        starts = [start for start, _ in made.offsets]
        lines.append(json.dumps({"text": text, "ids": found.ids[1:-1], "types": found.kinds[1:-1], "starts": starts}))
    (at.out / "word_shapes.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
