"""A character-level language model on the recurrent kernels: train it, keep it, let it write.

`rnnkernels train` and `rnnkernels sample` are this package's command line. Checkpoints need safetensors
(`pip install "rnnkernels[cli]"`); everything else here needs NumPy only.

Examples
--------
>>> from rnnkernels import charlm
>>> run = charlm.train("tick tock " * 400, charlm.Config(hidden=32, batch=8, seq_length=32, epochs=2))
>>> run.model.vocabulary.characters
' cikot'
"""

from . import places
from .checkpoint import Checkpoint, load_model, read_checkpoint, write_checkpoint
from .config import OPTIMIZERS, Config, model_cells
from .corpus import Corpus, Document, Split, read_folder, read_path, read_text_file, standard_library
from .likeness import LANGUAGES, LineShares, language_of, line_shares, python_lines
from .model import CharModel
from .ngram import NGram
from .sampling import sample, sample_characters
from .trainer import Record, Trainer
from .training import Observer, resume, train
from .vocabulary import UNKNOWN, Vocabulary

__all__ = [
    "CELLS",
    "LANGUAGES",
    "OPTIMIZERS",
    "UNKNOWN",
    "CharModel",
    "Checkpoint",
    "Config",
    "Corpus",
    "Document",
    "LineShares",
    "NGram",
    "Observer",
    "Record",
    "Split",
    "Trainer",
    "Vocabulary",
    "language_of",
    "line_shares",
    "load_model",
    "places",
    "python_lines",
    "read_checkpoint",
    "read_folder",
    "read_path",
    "read_text_file",
    "resume",
    "sample",
    "sample_characters",
    "standard_library",
    "train",
    "write_checkpoint",
]


def __getattr__(name: str) -> tuple[str, ...]:
    """Return ``CELLS``, the cells that a model may have; looked up when asked, as cells may be added."""
    if name == "CELLS":
        return model_cells()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
