"""Breaks of the character language model's care for its work: saves, claims, streams, options."""

from .record import Break

C = "python/rnnkernels/charlm"

BREAKS = [
    Break(
        "charlm: a stream that cannot be written ends the run",
        f"{C}/output.py",
        "except (OSError, ValueError) as error:\n                self.drop(error)",
        "except ValueError as error:\n                self.drop(error)",
        "tests/python/test_cli.py -k training",
    ),
    Break(
        "charlm: characters go to a stream that lacks them",
        f"{C}/output.py",
        'return text.encode(encoding, "replace").decode(encoding)',
        "return text",
        "tests/python/test_cli.py -k encoding",
    ),
    Break(
        "charlm: signals that are ignored are heard",
        f"{C}/progress.py",
        "if signal.getsignal(number) is not signal.SIG_IGN:",
        "if number:",
        "tests/python/test_cli.py -k signal",
    ),
    Break(
        "charlm: what fails between two windows costs those since the last save",
        f"{C}/training.py",
        "        except Exception:\n            self.save()\n            raise",
        "        except Exception:\n            raise",
        "tests/charlm/test_charlm_training.py -k observer",
    ),
    Break(
        "charlm: two runs claim one file",
        f"{C}/claim.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        "tests/charlm/test_charlm_claim.py",
    ),
    Break(
        "charlm: another's file is replaced",
        f"{C}/claim.py",
        "if there and self._read_mark(self.path) != self._mark:",
        "if there and self._read_mark(self.path) == self.name:",
        "tests/charlm/test_charlm_claim.py",
    ),
    Break(
        "charlm: a file that came meanwhile is replaced",
        f"{C}/claim.py",
        "        os.link(temporary, path)\n",
        "        os.replace(temporary, path)\n",
        "tests/charlm/test_charlm_claim.py",
    ),
    Break(
        "charlm: what killed saves left stays",
        f"{C}/claim.py",
        "if _try_lock(lock) or (path",
        "if not lock or (path",
        "tests/charlm/test_charlm_claim.py",
    ),
    Break(
        "charlm: a tensor's digest is that of its shape",
        f"{C}/digests.py",
        "    digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)\n",
        "",
        "tests/charlm/test_charlm_checkpoint.py tests/fuzz/test_charlm_fuzz.py",
    ),
    Break(
        "charlm: a checkpoint that lost its digests is an old one",
        f"{C}/checkpoint.py",
        "elif set(texts) - WITHOUT_DIGESTS:",
        "elif not texts:",
        "tests/charlm/test_charlm_checkpoint.py",
    ),
    Break(
        "charlm: temperature 0 is drawn at",
        "python/rnnkernels/readout.py",
        "    if temperature == 0:\n",
        "    if temperature < 0:\n",
        "tests/charlm/test_charlm_model.py -k temperature",
    ),
    Break(
        "charlm: a model begins with a newline that it does not know",
        f"{C}/sampling.py",
        '(character for character in "\\n " if character in vocabulary)',
        '(character for character in "\\n ")',
        "tests/charlm/test_charlm_model.py -k knows",
    ),
    Break(
        "arguments: a whole number is what Python takes for one",
        "python/rnnkernels/_scalars.py",
        "    if number < low:\n",
        "    if number < low - 1:\n",
        "tests/charlm/test_charlm_bad_arguments.py tests/charlm/test_charlm_ngram.py",
    ),
    Break(
        "cli: an option has the name of Python's argument",
        f"{C}/command_line.py",
        "    if head not in options or not colon:\n",
        "    if head:\n",
        "tests/python/test_cli.py -k option",
    ),
    Break(
        "cli: a wrong variable ends in a traceback",
        "python/rnnkernels/_runtime.py",
        "    if not _is_command_line():\n",
        "    if os.environ:\n",
        "tests/python/test_cli.py -k variable",
    ),
]
