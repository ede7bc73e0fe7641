"""What is said in sarcasm is not meant: the words' student unlearns to call it happy.

"Oh great, another delay. I just love waiting." is happy to who learnt joy from joyful texts alone. No set names the
emotion of sarcastic posts, but it is not the one that they claim. So the student of `text` goes on learning from
its own verdicts about all it knows and about sincere posts, and from its verdicts without `happy` about sarcastic ones.
"""

import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from emotion import heard, text
from emotion import text_data as td
from trunk import data as posts

HAPPY = td.CLASSES.index("happy")
SINCERE, SARCASTIC = "sincere", "sarcastic"
SCHEDULE = [{"meld": 2000, "goemotions": 4000, "tweeteval": 1500, SINCERE: 4000, SARCASTIC: 1300}] * 2
RATES, WARM_UP = (3e-5, 3e-4), 40  # of the encoder and of what is above it
SEEDS = (0, 1, 2)


def train(data: Path, work: Path) -> None:
    """student.pt, which ships: the mean of SEEDS students that start as `text.LITERAL`; and what measures it."""
    data, work = Path(data), Path(work)
    write_tables(data, work)
    out = text.folder(work) / "student.pt"
    if out.exists():
        return
    root, tok, heard_as = td.unpack(data, work), td.tokenizer(work), heard.read(work)
    known, literal = td.training_items(root) + items(data, work), text.load_student(work, text.LITERAL)

    def say(who, student):
        figures = told_happy(student, data, work, tok) | text.measure(student, text.put_by(root), heard_as, tok)
        print(who, json.dumps(figures), flush=True)

    say("literal", literal)
    for seed in SEEDS:
        one = text.folder(work) / f"sarcastic-{seed}.pt"
        if not one.exists():
            student = text.load_student(work, text.LITERAL)
            text.freeze(student)
            fit(student, literal, known, heard_as, tok, seed)
            torch.save(student.state_dict(), one)
            say(seed, student)
    student = text.load_student(work, text.LITERAL)
    student.load_state_dict(text.mean_state([text.load_student(work, f"sarcastic-{seed}.pt") for seed in SEEDS]))
    say("mean", student)
    torch.save(student.state_dict(), out)


def items(data: Path, work: Path) -> list[td.Item]:
    """Posts of MMSD2.0 and lines of irony sets, none of which repeats one of MMSD2.0's valid part or is put by."""
    root = posts.unpack(data, work)
    valid = posts.mmsd2(data, root, "valid")
    found = posts.apart(posts.mmsd2(data, root, "train") + posts.irony(root) + posts.mustard(root), valid)
    named = [td.Item(SARCASTIC if post.label else SINCERE, td.clean(post.text), -1, []) for post in found]
    return [item for item in named if item.text and not td.is_put_by(item.text)]


def wanted(teacher, ids, kinds, mask, sarcastic):
    """The teacher's verdict [B, 4], without `happy` where the text is sarcastic."""
    with torch.no_grad():
        p = teacher(ids, kinds, mask)[1].softmax(1)
        p[sarcastic, HAPPY] = 0
        return p / p.sum(1, keepdim=True)


def fit(student, teacher, known, heard_as, tok, seed: int) -> None:
    """Leaves the running mean of the weights in `student`."""
    plan = [g for e, part in enumerate(SCHEDULE) for g in text.epoch_batches(known, heard_as, tok, e, seed, part)]
    adam = text.optimiser(student, *RATES)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda s: min((s + 1) / WARM_UP, max(0.0, 1 - s / len(plan))))
    mean = torch.optim.swa_utils.AveragedModel(student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(text.EMA))
    begun = time.time()
    torch.manual_seed(seed)
    student.train()
    for step, group in enumerate(plan):
        ids, kinds, mask = text.collate(group)
        sarcastic = torch.tensor([known[key].source == SARCASTIC for key, _, _ in group])
        with torch.autocast("cpu", torch.bfloat16):
            target = wanted(teacher, ids, kinds, mask, sarcastic)
            logits = student(text.masked(ids, mask), kinds, mask)[1]
            loss = F.kl_div(logits.float().log_softmax(1), target.float(), reduction="batchmean")
        text.advance(student, loss, adam, rate, mean)
        if step % 50 == 49:
            print(f"seed {seed}, step {step + 1}/{len(plan)} loss {loss.item():.3f} {time.time() - begun:.0f} s", flush=True)
    student.load_state_dict(mean.module.state_dict())
    student.eval()


def write_tables(data: Path, work: Path) -> None:
    """cv/sincere.csv and cv/sarcastic.csv for `demeanor eval`: MMSD2.0's valid posts, labelled as if all were happy, so
    that its accuracy is the share of them that is taken for it."""
    found = posts.mmsd2(data, posts.unpack(data, work), "valid")
    (work / "cv").mkdir(exist_ok=True)
    for k, name in ((0, SINCERE), (1, SARCASTIC)):
        with open(work / f"cv/{name}.csv", "w", newline="", encoding="utf-8") as table:
            out = csv.writer(table)
            out.writerow(["id", "text", "label"])
            out.writerows([post.id, td.clean(post.text), td.CLASSES[HAPPY]] for post in found if post.label == k)


@torch.no_grad()
def told_happy(student, data: Path, work: Path, tok) -> dict:
    """Shares of MMSD2.0's valid posts whose likeliest class is `happy`."""
    found = posts.mmsd2(data, posts.unpack(data, work), "valid")
    guess = text.logits_of(student, [td.Item("post", td.clean(post.text), -1, []) for post in found], tok).argmax(1)
    label = np.array([post.label for post in found])
    return {name: round(float((guess[label == k] == HAPPY).mean()), 4) for k, name in ((0, SINCERE), (1, SARCASTIC))}
