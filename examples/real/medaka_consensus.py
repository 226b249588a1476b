"""Nanopore reads to a consensus: medaka's inference, a bidirectional GRU of two layers, as it is and after `swap`.

medaka 2.2.2 counts what reads say at each place of a draft, and a network decides which bases stand there. The program
makes a sequence and reads of it with errors, in the file that medaka reads; all of medaka's inference is timed.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pysam
import torch
from medaka.common import Region
from medaka.datastore import DataIndex
from medaka.features import BAMHandler
from medaka.models import open_model
from medaka.prediction import run_prediction
from medaka.stitch import stitch_from_probs

import rnnkernels.torch as rnn

from . import compare

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

PACKAGES = ("medaka==2.2.2",)

MODEL = "r1041_e82_400bps_sup_v5.2.0"  # lies in the package
LENGTH, READS, SPAN = 20_000, 200, 2_000
CHUNK, OVERLAP = 2_000, 200  # of the draft, for one row of a batch


def write_reads(file: str, rng: np.random.Generator) -> str:
    """Write reads of a sequence, each placed where it is from, and return the sequence."""
    truth = rng.choice(list("ACGT"), LENGTH)
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "draft", "LN": LENGTH}]}
    with pysam.AlignmentFile(file, "wb", header=header) as bam:
        starts = np.sort([0, LENGTH - SPAN, *rng.integers(0, LENGTH - SPAN, READS - 2)])
        for number, start in enumerate(starts.tolist()):
            bases, kept = truth[start : start + SPAN].copy(), rng.random(SPAN) > 0.02  # the others are missing
            wrong = rng.random(SPAN) < 0.02
            bases[wrong] = rng.choice(list("ACGT"), wrong.sum())
            kept[[0, -1]] = True
            edges = [0, *(np.flatnonzero(np.diff(kept)) + 1).tolist(), SPAN]
            read = pysam.AlignedSegment(bam.header)
            read.query_name, read.reference_id, read.reference_start = f"read{number}", 0, start
            read.flag, read.mapping_quality = 16 * int(rng.integers(2)), 60  # either strand
            read.query_sequence = "".join(bases[kept])
            read.cigartuples = [(0 if kept[a] else 2, b - a) for a, b in itertools.pairwise(edges)]
            bam.write(read)
    pysam.index(file)
    return "".join(truth)


class Consensus:
    """medaka's inference with a model that lies in memory."""

    def __init__(self, bam: str, folder: Path) -> None:
        self.store = open_model(MODEL)
        self.model = self.store.load_model(device=torch.device("cpu"))
        self.reads, self.region = BAMHandler(bam, size=2), Region("draft", 0, LENGTH)
        self.files = (str(folder / f"{number}.hdf") for number in itertools.count())

    def infer(self) -> str:
        """Write the probabilities of all places to a new file, and return its name."""
        file, encoder = next(self.files), self.store.get_meta("feature_encoder")
        self.store.copy_meta(file)
        run_prediction(file, self.reads, [self.region], self.model, encoder, CHUNK, OVERLAP, bam_workers=1)
        return file

    def read(self, file: str) -> tuple[str, Array]:
        """Return the bases, and the probabilities of the rows of the batch one after the other."""
        ((_, parts, _),) = stitch_from_probs([file], self.region, min_depth=0)
        samples = DataIndex([file]).yield_from_feature_files(regions=[self.region])
        return "".join(parts), np.concatenate([sample.label_probs for sample in samples])


def main() -> None:
    """Compare, and print a row of the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("theirs", "ours"):
            (folder / part).mkdir()
        bam = f"{name}/reads.bam"
        write_reads(bam, np.random.default_rng(0))
        theirs, ours = Consensus(bam, folder / "theirs"), Consensus(bam, folder / "ours")
        rnn.swap(ours.model)
        (bases, chances), (our_bases, our_chances) = theirs.read(theirs.infer()), ours.read(ours.infer())
        checked = compare.same("consensus", bases, our_bases), compare.close("probabilities", chances, our_chances)
        times = compare.ratio(theirs.infer, ours.infer, rounds=7)
    what = f"{READS} reads to {LENGTH} bases, all of `inference` (bidirectional GRU of two layers)"
    print(compare.row("medaka 2.2.2", what, times, *checked))


if __name__ == "__main__":
    main()
