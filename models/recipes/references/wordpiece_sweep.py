"""Reference for tests/engine/tokenizer.rs: every Unicode character, by the teacher's tokenizer.

For each scalar value c the ids of "a{c}b {c}" (no special tokens) are hashed
with 64-bit FNV-1a, as little-endian u32 each followed by a 0xFFFFFFFF, into
one hash per block of 4,096 code points. A wrong category, decomposition or
case rule of a single character changes its block's hash.

The version of tokenizers is written into the file.
"""

import json

import tokenizers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from common.stages import Places

BLOCK = 4096


def teacher(vocab_path):
    """BERT-uncased as the teacher's own tokenizer configuration states it."""
    with open(vocab_path, encoding="utf-8") as lines:
        vocab = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    model = models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def fnv(words, state):
    for word in words:
        for byte in word.to_bytes(4, "little"):
            state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def block_hash(tokenizer, first):
    scalars = [c for c in range(first, first + BLOCK) if not 0xD800 <= c < 0xE000]
    texts = [f"a{chr(c)}b {chr(c)}" for c in scalars]
    state = 0xCBF29CE484222325
    for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
        state = fnv(encoding.ids + [0xFFFFFFFF], state)
    return f"{state:016x}"


def write(at: Places) -> None:
    tokenizer = teacher(at.models / "emotion/vocab.txt")
    sweep = {
        "made_by": f"models/recipes/references/wordpiece_sweep.py, tokenizers {tokenizers.__version__}",
        "block": BLOCK,
        "hashes": [block_hash(tokenizer, first) for first in range(0, 0x110000, BLOCK)],
    }
    with open(at.out / "wordpiece_sweep.json", "w", encoding="utf-8") as out:
        json.dump(sweep, out, indent=0)
        out.write("\n")
