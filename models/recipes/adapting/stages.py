"""Learning curves of `demeanor adapt` on shifts that the sets at hand allow.

Stages:
  trunks    speech encoders that never heard one of the corpora
  curves    bundles adapted on 10 to 100 items a class, each judged on people that it never met
  table     prints the section of models/MEASUREMENTS.md, and writes it there
  cost      seconds of a core and memory for 400 recordings of 4 s
"""

from adapting import cost, curves, trunks
from common.stages import REPO, Places

DATA = "folder with ravdess/, tess/, emodb/, ferplus/"
OUT = REPO / "models" / "MEASUREMENTS.md"
BEGIN, END = "<!-- adapting: begin -->", "<!-- adapting: end -->"
HEAD = """## Adapting
Mean recall of the classes (UA) of people that neither the trunk nor the adapted heads had met, by items a class
that `demeanor adapt --force` learnt from; 95% intervals over items. Voices: encoders trained without the corpus,
parts by speaker. Faces: FER+ dev, of six classes 100 each at most; the heads learn from train. "gap" is
what 50 items a class close of the way from the shipped head to a head from all items.
`models/recipes/run.py adapting --data DATA` prints it.

| shift | n | as shipped | 10 | 20 | 50 | 100 | all | gap closed |
|---|---|---|---|---|---|---|---|---|
"""


def make_trunks(at: Places) -> None:
    trunks.train(at.data, at.work)
    trunks.export(at.data, at.work)


def measured(at: Places) -> list[tuple]:
    found = []
    for shift in curves.speech_shifts(at.data, at.work):
        found.append((shift, curves.measure(at, shift, sorted({r["part"] for r in shift.rows}))))
    faces = curves.face_shift(at.data, at.work)
    return [*found, (faces, curves.measure(at, faces, [0]))]


def table(at: Places) -> None:
    section = HEAD + "\n".join(curves.line(*found) for found in measured(at)) + "\n"
    print(section)
    text = at.out.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before.rstrip()}\n\n{BEGIN}\n{section}{END}\n{after.lstrip()}"
    at.out.write_text(text, encoding="utf-8")


STAGES = {"trunks": make_trunks, "curves": measured, "table": table, "cost": lambda at: print(cost.measure(at))}
