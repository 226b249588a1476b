"""The systems of a university lecture on recurrent networks, row by row: what each is, and when it counts as working.

An example belongs to the rows whose `system` holds words of its ROWS. Where the way to a figure is a command of the
package itself, it is in `commands`. Data only: `index.py` writes the page.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TABLE", "Row"]


class Row(NamedTuple):
    """A row of the table."""

    system: str
    works: str  # "it works when ..."
    commands: tuple[str, ...] = ()  # beside those of its examples


TABLE = (
    Row("one-to-many", "counts from the number it is given: > 99 %"),
    Row("many-to-one", "names the majority of a sequence: > 99 %"),
    Row("many-to-many", "tags each frame: > 99 %"),
    Row("sequence-to-sequence", "reverses a string of 10 to 20 letters: > 99 %"),
    Row('"hello", four letters', "greedy sampling after `h` writes `ello`"),
    Row(
        "min-char-rnn: hidden 100, 25 steps, learning rate 0.1, Adagrad, ±5 clip, state kept, reset at the end of data",
        "loss traces agree with plain NumPy's to 1e-9 in float64 for 1,000 iterations; the first loss is 25·ln V; the "
        "speed-up is printed",
        ("python -m examples.min_char_rnn --text FILE",),
    ),
    Row(
        "character language model: layers, cell of choice, dropout, temperature, prime text, checkpoint and resume",
        "on the Python standard library's own source, validation loss below a 6-gram model's 1.51 nats/char within "
        "minutes on two cores; the loss curve of the same model in PyTorch is matched step for step",
        ("rnnkernels train --checkpoint model.safetensors", "python -m examples.char_model_torch --text FILE"),
    ),
    Row(
        "samples that look like the source: prose, LaTeX, C",
        "of the sampled lines, the share that tokenizes and balances its brackets is printed beside an n-gram model's",
        ("rnnkernels sample model.safetensors",),
    ),
    Row("backpropagation through time, full", "gradients equal autograd's to 1e-10 in float64"),
    Row(
        "truncated backpropagation: state carried for ever, gradient for k steps",
        "k2 ≥ T equals full BPTT bit for bit; memory does not grow with T; a task with delay d is learnt when k2 ≥ d "
        "and not when k2 < d",
    ),
    Row(
        "exploding and vanishing gradients",
        "the slope of log ‖dL/dh_t‖ follows log σ_max in the linear case; LSTM's dL/dc ratio is exactly 1 with f = 1",
    ),
    Row("gradient clipping by norm and by value", "an exploding task diverges without it and trains with it"),
    Row(
        "LSTM against vanilla on long dependencies: adding problem",
        "T = 200: LSTM and GRU mean squared error < 0.01 while vanilla stays at 0.167",
    ),
    Row("LSTM against vanilla on long dependencies: copy task", "below the memoryless 10·ln 8/(T+20)"),
    Row(
        "GRU, MUT1 to MUT3, Odyssey variants",
        "reference parity; a comparison program trains all of them on one task and prints the table with seeds",
    ),
    Row(
        "interpretable cells: quotes, line position, `if` conditions, comments, code depth",
        'a probe finds, in a trained model, a cell whose AUC for "inside a string" is above 0.9, and similar for '
        "comment and depth",
    ),
    Row(
        "RNN with attention: soft attention over a grid of features at every step",
        "captions of rendered scenes: exact match > 95 %; the attention's peak lies in the named object's cell in "
        "≥ 90 %",
    ),
    Row(
        "image captioning without attention",
        "works, and is beaten by attention on scenes with four objects",
    ),
    Row("hard attention (sampled, REINFORCE)", "trains; compared with soft"),
    Row(
        "visual question answering with attention, multiple choice",
        "beats the question-only baseline by a wide margin; points at the asked object",
    ),
    Row("video classification per frame", "> 98 % of frames"),
    Row(
        "glimpses: classify an image by looking at a few places",
        "beats a fixed-centre look at equal pixels",
    ),
    Row(
        "DRAW: generate an image in steps",
        "a better bound than a one-step model of equal size; a picture of the steps",
    ),
    Row("multilayer and bidirectional", "parity with PyTorch's stacked layers"),
)
