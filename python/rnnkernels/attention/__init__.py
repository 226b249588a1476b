"""The attending recurrence: in every step the state asks a set of features, and the cell sees the answer beside x.

    from rnnkernels import attention

    params = attention.init_params("lstm", input_size, feature_size, hidden_size, rng=0)
    run = attention.forward("lstm", x, features, params)   # run.output (T, B, H), run.weights (T, B, L)
    grads = attention.backward(run, d_output)              # grads.x, grads.features, grads.params, grads.state

T steps, B rows, L places with D features each, A units of the attention. In step t, with h = h_{t-1}, the first of the
states, and a_i = features[b, i]:

- q = W_query h + b_query, key_i = W_key a_i
- scores ``"additive"`` (Bahdanau, Cho, Bengio 2015): e_i = score · tanh(key_i + q)
- scores ``"bilinear"`` (Luong, Pham, Manning 2015, "general"): e_i = q · a_i
- scores ``"dot"`` (Vaswani et al. 2017): e_i = q · key_i / √A
- α = softmax(e) over the places that the mask allows; 0 at the others
- context = β Σ_i α_i a_i, with β = σ(w_beta · h + b_beta) where ``gated`` (Xu et al. 2015), else 1
- the cell takes its step on (x_t, context): of ``weight_ih`` (Gx·H, I + D) the columns of x come first

``location=(C, K)`` (Chorowski et al. 2015) lets additive scores see where they looked before: tanh(key_i + q + f_i),
f_i = Σ_c Σ_k weight_location[:, c, k] s_c[i + k - K//2], with s_0 the α of the step before and, where C = 2, s_1 the
sum of all α before (Shen et al. 2018). Beyond the ends, and before the first step, s is 0.

Hard attention (Xu et al. 2015), ``hard=seed``: one place s is drawn from α, and context = β a_s; with
``hard="greedy"`` s is the likeliest place. No derivative goes
through the draw: the gradient of the context goes to a_s and β alone. What REINFORCE adds goes through the weights:
``d_weights[t, b, s] = (dL/d log p) / α_s`` at the drawn place.

What each weight is, and when it is there, `parameter_shapes` says.
"""

from .parameters import init_params, parameter_shapes
from .recurrence import AttendingGradients, AttendingRun, backward, forward
from .stepper import Stepper

__all__ = ["AttendingGradients", "AttendingRun", "Stepper", "backward", "forward", "init_params", "parameter_shapes"]
