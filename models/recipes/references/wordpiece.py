"""Reference vectors for the Rust tokenizer's test: own strings, the teacher's tokenizer's ids.

Writes [{"text": ..., "ids": [...]}], without [CLS] and [SEP]. Literal "[SEP]" and its kin
are left out on purpose: the teacher's library reads them as control tokens, and the
runtime must not let a typed text do that.
"""

import json
import random

from common.stages import Places
from emotion import text_data as td

PLAIN = """
Hello world.|I can't believe it!|We've been waiting for 45 minutes, haven't we?|THE QUICK BROWN FOX
the quick brown fox|ThE qUiCk BrOwN fOx|Well... I don't know.|Wait--what?!|yes|no|a|I|O'Neill's car-park
unaffable|antidisestablishmentarianism|pneumonoultramicroscopicsilicovolcanoconiosis|supercalifragilistic
rewiring the thermostat again|microcontrollers and oscilloscopes|demeanor|cyberphysical|xylophonists' zithers
The lamp is on the table.|Please close the window before you leave.|The train arrives at platform nine.
aaaaaaaaaaaaaaaaaaaaaaaa|hahahahahahaha|nooooooooooo|soooo goooood|zzz|qwertyuiop|asdf jkl;|hmm hm hmmm
e-mail me at someone@example.org today|see https://example.org/a?b=c&d=e#f now|#happy #sad @user RT: via
""".strip().replace("\n", "|").split("|")

NUMBERS = """
0|7|42|1984|12345678901234567890|3.14159|-273.15|1,000,000|50%|$9.99|£5|€20|¥3000|₹100|1st 2nd 3rd|10:45pm
2026-11-23|+44 20 7946 0000|1/2|½|¼ ¾|²³|x² + y² = z²|①②③|Ⅳ|٣٤٥|१२३|1e-9|0xFF|v1.2.3-rc4|7th-century|16kHz 80dB
""".strip().replace("\n", "|").split("|")

PUNCTUATION = [
    "!", "?!?!?!", "......", "…", "---", "—", "–", "''", '""', "“quoted”", "‘single’", "«guillemets»", "„low“",
    "a.b.c", "a,b;c:d", "(nested [brackets {here}])", "~`^|\\/", "<>&", "©®™", "§¶†‡", "°C", "x+y=z", "a_b_c",
    "***bold***", "$$$", "@@@", "###", "%%", "¿Qué?", "¡Hola!", "、。「」", "！？，．", "don’t", "rock ’n’ roll",
    "don't", "'tis", "y'all'd've", "--flag=value", "C:\\path\\file.txt", "/usr/bin/env", "a*b", "1+1=2", "^_^", ":-)",
    ":(", "<3", "</tag>", "&amp;", "¬", "·", "•bullet", "‰", "′″", "‹›", "⁂", "‽", "؟", "።", "।", "-", "_", "=",
]

ACCENTS = """
café|cafe\u0301|naïve|Zoë|Ångström|A\u030angstro\u0308m|façade|El Niño|São Paulo|Crème brûlée|Łódź|Ærøskøbing|ß|STRASSE straße
İstanbul|ıstanbul|İ|ǅungla|ﬁre ﬂow|ﬃ|Ǻ|ệ|Việt Nam|Đà Nẵng|Smørrebrød|Þórr|Ðe|Œuvre|naïveté|résumé|coöperate|Ÿ|Ñandú
Привет мир|ПРИВЕТ|ёлка Й й|Ελληνικά|ΑΣ ΣΑΣ|ς|Άέήίόύώ|עברית שלום|שָׁלוֹם|العربية|مُحَمَّد|हिन्दी में|ภาษาไทย|ქართული|Հայերեն|አማርኛ
தமிழ்|বাংলা|ਪੰਜਾਬੀ|ខ្មែរ|မြန်မာ|ລາວ|සිංහල|తెలుగు|ಕನ್ನಡ|മലയാളം|монгол|ᠮᠣᠩᠭᠣᠯ|ᏣᎳᎩ|ⴰⵎⴰⵣⵉⵖ|Ⅷ|ﷺ|ﷲ|ﬀ|ŉ|ǆ
""".strip().replace("\n", "|").split("|")

EASTERN = """
你好|你好世界|我喜欢机器人。|東京タワー|カタカナ|ひらがな|ｶﾞｷﾞｸﾞ|がぎぐ|か\u3099き|한국어|안녕하세요|\u1112\u1161\u11ab|漢字kanji混じり|中文English混合123
㍿|㋿|ｆｕｌｌｗｉｄｔｈ|１２３|𠀀𠀁|𪜀|\U0002f800|豈|㐀|﨎|々|〇|〆|ー|・|ヴァイオリン|注音ㄅㄆㄇ|ꀀꀁ|ㄱㄴ|가나다
""".strip().replace("\n", "|").split("|")

EMOJI = [
    "😀", "I am 😀 happy", "😀😀😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷🇩🇪", "❤️", "❤", "☹", "☺️", "✨wow✨", "1️⃣", "#️⃣", "🤷‍♀️", "so sad 😢!",
    "😡angry😡", "🫠", "⌚", "→ ← ↑", "∑∫√∞", "≠≤≥", "♥♦♣♠", "♪♫", "█▓▒░", "┌─┐", "⠓⠊", "𝓯𝓪𝓷𝓬𝔂", "𝟘𝟙", "🅰🅱", "ⓐⓑ", "⒜",
]

INVISIBLE = [
    "", " ", "   ", "\t", "\n", "\r\n", "a\tb", "a\nb", "a\r\nb", "a\u00a0b", "a\u2003b", "a\u2009b", "a\u202fb", "a\u3000b",
    "a\u1680b", "a\u2028b", "a\u2029b", "a\u0085b", "a\u000bb", "a\u000cb", "a\u001cb", "a\u001fb", "a\u200bb", "a\u200cb",
    "a\u200db", "a\u2060b", "\ufeffbom", "a\ufeffb", "soft\u00adhyphen", "a\u0000b", "\u0000", "\u0000\u0000x", "a\u0001b",
    "a\u0007b", "a\u0008b", "\u001b[31mred", "a\u007fb", "a\u0080b", "a\u009fb", "\ufffd", "a\ufffdb", "a\u200eb\u200f",
    "\u202eabc\u202c", "\u2066x\u2069", "a\u180eb", "\ue000private", "\U000f0000", "a\uffffb", "a\ufffeb", "\U0010ffff",
    "  leading", "trailing  ", "  both  ", "many     spaces", "\u0301", "\u0301\u0301a", "a\u0301\u0302\u0303", "\u20e3",
    "\ufe0f", "\u0378", "\ufdd0", "\U000e0001", "\u061c", "\u115f", "\u3164", "\uffa0", "\u034f", "a\u0345b",
]

LONG = [
    "x" * 99, "x" * 100, "x" * 101, "y" * 500, "é" * 100, "é" * 101, "ab" * 50, "ab" * 50 + "c", "中" * 120, "😀" * 101, "a" * 100 + "!",
    "." * 120, "word " * 150, "un" * 49 + "ed", "9" * 100, "9" * 101, "e\u0301" * 60, "İ" * 60, "-".join("abcdefghij" * 5),
]


def made_up(number: int) -> list[str]:
    """Random strings that mix scripts, marks, spaces and controls; the seed is fixed."""
    rng = random.Random(7)
    pools = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFG", "0123456789", ".,;:!?'\"-()", " \t\u00a0\u3000", "éüñçÅø", "中文日本", "😀❤👍",
             "\u0301\u0308\u0327", "\u0000\u0007\u200b\u00ad\ufffd", "абвГД", "αβγΣς", "قلب", "ﬁŉǅ"]
    return ["".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(3, 40))) for _ in range(number)]


def write(at: Places) -> None:
    tok = td.tokenizer(at.work)
    texts = PLAIN + NUMBERS + PUNCTUATION + ACCENTS + EASTERN + EMOJI + INVISIBLE + LONG + made_up(40)
    lines = [json.dumps({"text": t, "ids": tok.encode(t, add_special_tokens=False).ids}) for t in dict.fromkeys(texts)]
    (at.out / "wordpiece_reference.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
