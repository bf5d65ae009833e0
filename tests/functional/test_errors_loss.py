"""What the losses refuse, in words."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

import purenn.functional as F
from purenn.functional.cross_entropy import LinearCrossEntropyOptions

X = jnp.ones((2, 3))
ROW = jnp.ones(3)
INT = jnp.ones((2, 3), "int32")
BOOL = jnp.ones((2, 3), "bool")
CLASSES = jnp.array([0, 2])
W = jnp.ones((4, 3))
LP = jnp.zeros((5, 2, 4))
TARGETS = jnp.ones((2, 2), "int32")


def chunks(**options):
    return F.linear_cross_entropy(X, W, CLASSES, options=LinearCrossEntropyOptions(**options))


REDUCTIONS = [
    (lambda: F.mse_loss(X, X, reduction="x"), ValueError,
     r"mse_loss: reduction must be 'none', 'mean' or 'sum', got reduction='x'\."),
    (lambda: F.kl_div(X, X, reduction="x"), ValueError, "kl_div: reduction must be"),
    (lambda: F.cross_entropy(X, CLASSES, reduction="batchmean"), ValueError, "cross_entropy: reduction must be"),
    (lambda: F.l1_loss(INT, INT), TypeError, "l1_loss: the loss, to have a mean, must be floating"),
]  # fmt: skip

REGRESSION = [
    (lambda: F.l1_loss(X, [1.0]), TypeError, r"l1_loss: target must be an array, got type\(target\)='builtins.list'"),
    (lambda: F.l1_loss(X, jnp.ones(2)), ValueError,
     r"l1_loss: the shapes of input and target must broadcast, got input.shape=\(2, 3\) and target.shape=\(2,\)\."),
    (lambda: F.l1_loss(BOOL, BOOL), TypeError, "l1_loss: input and target must be numbers, got dtype='bool'"),
    (lambda: F.l1_loss(X, X, weight=ROW), ValueError,
     r"l1_loss: weight must have the shape of input, got weight.shape=\(3,\) and input.shape=\(2, 3\)\."),
    (lambda: F.mse_loss(X, X, weight=ROW), ValueError, "mse_loss: weight must have the shape of input"),
    (lambda: F.huber_loss(X, X, weight=ROW), ValueError, "huber_loss: weight must have the shape of input"),
    (lambda: F.mse_loss(INT, INT), TypeError,
     r"mse_loss: input and target must be real and floating, got dtype='int32'\. Cast them"),
    (lambda: F.mse_loss(X * 1j, X), TypeError, "mse_loss: input and target must be real and floating"),
    (lambda: F.smooth_l1_loss(INT, INT), TypeError, "smooth_l1_loss: input and target must be real and floating"),
    (lambda: F.smooth_l1_loss(X, X, beta=-1), ValueError, r"smooth_l1_loss: beta must be at least 0, got beta=-1\."),
    (lambda: F.huber_loss(INT, INT), TypeError, "huber_loss: input and target must be real and floating"),
    (lambda: F.huber_loss(X, X, delta=0), ValueError, r"huber_loss: delta must be above 0, got delta=0\."),
    (lambda: F.gaussian_nll_loss(X, X, 1), TypeError, "gaussian_nll_loss: var must be an array"),
    (lambda: F.gaussian_nll_loss(INT, INT, INT), TypeError, "gaussian_nll_loss: input and target must be real"),
    (lambda: F.gaussian_nll_loss(X, X, -1.0), ValueError, r"gaussian_nll_loss: var must not be negative\."),
    (lambda: F.gaussian_nll_loss(X, X, -X), ValueError, "gaussian_nll_loss: var must not be negative"),
    (lambda: F.gaussian_nll_loss(X, X, ROW), ValueError,
     r"gaussian_nll_loss: var must have the shape of input, .*, got var.shape=\(3,\) and input.shape=\(2, 3\)\."),
    (lambda: F.kl_div(X, INT), TypeError, "kl_div: input and target must be real and floating, got dtype='int32'"),
    (lambda: F.poisson_nll_loss(X, jnp.ones(2)), ValueError, "poisson_nll_loss: the shapes of input and target must"),
]  # fmt: skip

BITS = [
    (lambda: F.binary_cross_entropy(X, ROW), ValueError,
     r"binary_cross_entropy: target must have the shape of input, got input.shape=\(2, 3\) and target.shape=\(3,\)\."),
    (lambda: F.binary_cross_entropy(2 * X, X), ValueError,
     r"binary_cross_entropy: input must lie in \[0, 1\]\. Use binary_cross_entropy_with_logits for logits\."),
    (lambda: F.binary_cross_entropy(jnp.nan * X, X), ValueError, r"input must lie in \[0, 1\]"),
    (lambda: F.binary_cross_entropy(X, -X), ValueError, r"binary_cross_entropy: target must lie in \[0, 1\]"),
    (lambda: F.binary_cross_entropy(X, INT), TypeError, "binary_cross_entropy: input, target must have one dtype"),
    (lambda: F.binary_cross_entropy(INT, INT), TypeError, "binary_cross_entropy: input and target must be real"),
    (lambda: F.binary_cross_entropy(X, X, jnp.ones(2)), ValueError,
     r"binary_cross_entropy: weight must broadcast to the shape of input, got weight.shape=\(2,\) and"),
    (lambda: F.binary_cross_entropy(X, X, jnp.ones((4, 1, 3))), ValueError, "weight must broadcast to the shape"),
    (lambda: F.binary_cross_entropy_with_logits(X, ROW), ValueError,
     "binary_cross_entropy_with_logits: target must have the shape of input"),
    (lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=jnp.ones(2)), ValueError,
     "binary_cross_entropy_with_logits: pos_weight must broadcast to the shape of input"),
    (lambda: F.binary_cross_entropy_with_logits(X, INT), TypeError, "input and target must be real and floating"),
]  # fmt: skip

MARGINS = [
    (lambda: F.hinge_embedding_loss(X, jnp.ones(2)), ValueError, "hinge_embedding_loss: the shapes of input and"),
    (lambda: F.hinge_embedding_loss(INT, INT), TypeError, "hinge_embedding_loss: the loss, to have a mean"),
    (lambda: F.soft_margin_loss(INT, INT), TypeError, "soft_margin_loss: input and target must be real and floating"),
    (lambda: F.soft_margin_loss(X, jnp.ones(2)), ValueError, "soft_margin_loss: the shapes of input and target"),
    (lambda: F.margin_ranking_loss(X, X, ROW), ValueError,
     r"margin_ranking_loss: input1, input2 and target must have as many axes, got input1.shape=\(2, 3\) and"),
    (lambda: F.margin_ranking_loss(X, X, W), ValueError,
     "margin_ranking_loss: the shapes of input1 and input2 and target must broadcast"),
    (lambda: F.cosine_embedding_loss(X, X, X), ValueError,
     r"cosine_embedding_loss: input1, input2 and target must be \(N, D\), \(N, D\) and \(N\), or \(D\), \(D\) and"),
    (lambda: F.cosine_embedding_loss(X, W, CLASSES), ValueError,
     "cosine_embedding_loss: the shapes of input1 and input2 must broadcast"),
    (lambda: F.cosine_embedding_loss(X, X, ROW), ValueError, "cosine_embedding_loss: the shapes of input1 · input2"),
    (lambda: F.multi_margin_loss(X, CLASSES, p=3), ValueError, r"multi_margin_loss: p must be 1 or 2, got p=3\."),
    (lambda: F.multi_margin_loss(INT, CLASSES), TypeError, "multi_margin_loss: input and target must be real"),
    (lambda: F.multi_margin_loss(X, ROW), TypeError, "multi_margin_loss: target must hold integers"),
    (lambda: F.multi_margin_loss(X[:, :0], CLASSES), ValueError,
     r"multi_margin_loss: input must be \(N, C\) or \(C\) with C > 0, got input.shape=\(2, 0\)\."),
    (lambda: F.multi_margin_loss(X, INT), ValueError,
     r"multi_margin_loss: target must be one class for each row of input, got target.shape=\(2, 3\) and"),
    (lambda: F.multi_margin_loss(X, CLASSES, weight=X), ValueError,
     r"multi_margin_loss: weight must be \(3,\), one for each class, got weight.shape=\(2, 3\)\."),
    (lambda: F.multi_margin_loss(X, CLASSES, weight=INT[0]), TypeError, "multi_margin_loss: input, weight must have"),
    (lambda: F.multi_margin_loss(X, CLASSES + 1), IndexError,
     r"multi_margin_loss: target must lie in \[0, 3\), got target=3\."),
    (lambda: F.multilabel_margin_loss(X, CLASSES), ValueError,
     r"multilabel_margin_loss: target must have the shape of input, got target.shape=\(2,\) and"),
    (lambda: F.multilabel_margin_loss(X, 3 * INT), IndexError,
     r"multilabel_margin_loss: target must lie in \[0, 3\), got target=3\. -1 ends the list of a row\."),
    (lambda: F.multilabel_soft_margin_loss(jnp.ones(()), jnp.ones(())), ValueError,
     r"multilabel_soft_margin_loss: input must have an axis of classes, got input.shape=\(\)\."),
    (lambda: F.multilabel_soft_margin_loss(INT, INT), TypeError, "multilabel_soft_margin_loss: input and target must"),
    (lambda: F.multilabel_soft_margin_loss(X, X, jnp.ones(2)), ValueError,
     "multilabel_soft_margin_loss: the shapes of input and weight must broadcast"),
    (lambda: F.triplet_margin_loss(X, X, X, margin=0), ValueError,
     r"triplet_margin_loss: margin must be above 0, got margin=0\."),
    (lambda: F.triplet_margin_loss(X, X, ROW), ValueError,
     r"triplet_margin_loss: anchor, positive and negative must have as many axes, got anchor.shape=\(2, 3\) and"),
    (lambda: F.triplet_margin_loss(X, X, W), ValueError,
     "triplet_margin_loss: the shapes of anchor and positive and negative must broadcast"),
    (lambda: F.triplet_margin_with_distance_loss(X, X, W), ValueError,
     "triplet_margin_with_distance_loss: the shapes of anchor and positive and negative must broadcast"),
    (lambda: F.triplet_margin_with_distance_loss(X, X, ROW), ValueError,
     "triplet_margin_with_distance_loss: anchor, positive and negative must have as many axes"),
]  # fmt: skip

CROSS_ENTROPY = [
    (lambda: F.cross_entropy(X, [0, 2]), TypeError, "cross_entropy: target must be an array"),
    (lambda: F.cross_entropy(jnp.ones(()), jnp.ones(())), ValueError,
     r"cross_entropy: input must have an axis of classes, got input.shape=\(\)\."),
    (lambda: F.cross_entropy(INT, CLASSES), TypeError,
     r"cross_entropy: input must be real and floating, got input.dtype='int32'\."),
    (lambda: F.cross_entropy(X, CLASSES, label_smoothing=1.5), ValueError,
     r"cross_entropy: label_smoothing must lie in \[0, 1\], got label_smoothing=1.5\."),
    (lambda: F.cross_entropy(X, CLASSES, X), ValueError,
     r"cross_entropy: weight must be \(3,\), one for each class, got weight.shape=\(2, 3\)\."),
    (lambda: F.cross_entropy(X, CLASSES, INT[0]), TypeError,
     r"cross_entropy: weight must have the dtype of input, got weight.dtype='int32' and input.dtype='float32'\. Cast"),
    (lambda: F.cross_entropy(X, ROW[:2]), TypeError,
     r"cross_entropy: target must hold integers, or probabilities in the shape of the logits, got target.dtype="),
    (lambda: F.cross_entropy(X, jnp.array([0, 1, 2])), ValueError,
     r"cross_entropy: target must be \(2,\), the logits without their classes, got target.shape=\(3,\) and"),
    (lambda: F.cross_entropy(X, INT), TypeError, "cross_entropy: target must be floating when it has the shape of"),
    (lambda: F.cross_entropy(X, X, ignore_index=1), ValueError,
     r"cross_entropy: ignore_index must stay unset when target holds probabilities\."),
    (lambda: F.cross_entropy(X, jnp.array([-1, 3])), IndexError,
     r"cross_entropy: target must lie in \[0, 3\), got target=-1\. Only ignore_index=-100 may lie outside\."),
    (lambda: F.nll_loss(X, jnp.array([0, 3])), IndexError, r"nll_loss: target must lie in \[0, 3\), got target=3"),
    (lambda: F.nll_loss(X, X), TypeError, "nll_loss: target must hold integers"),
    (lambda: F.linear_cross_entropy(X[None], W, CLASSES), ValueError,
     r"linear_cross_entropy: input must be 1-D or 2-D, got input.shape=\(1, 2, 3\)\."),
    (lambda: F.linear_cross_entropy(X, ROW, CLASSES), ValueError, "linear_weight must be at least 2-D, got linear"),
    (lambda: F.linear_cross_entropy(X, W.T, CLASSES), ValueError,
     r"linear_cross_entropy: the last axes of input and linear_weight must be equal, got input.shape=\(2, 3\) and"),
    (lambda: F.linear_cross_entropy(X, W, CLASSES, linear_bias=ROW), ValueError,
     r"linear_cross_entropy: linear_bias must be \(4,\), got linear_bias.shape=\(3,\)\."),
    (lambda: F.linear_cross_entropy(ROW, W[:, None], CLASSES), ValueError,
     "linear_cross_entropy: input must be 2-D when linear_weight has more than two axes"),
    (lambda: F.linear_cross_entropy(X, W.astype("bfloat16"), CLASSES), TypeError,
     "linear_cross_entropy: input, linear_weight must have one dtype"),
    (lambda: F.linear_cross_entropy(X, W, jnp.ones((2, 4)), ignore_index=-100), ValueError,
     "linear_cross_entropy: ignore_index must stay unset"),
    (lambda: F.linear_cross_entropy(X, W, CLASSES + 2), IndexError, r"target must lie in \[0, 4\), got target=4"),
    (lambda: F.linear_cross_entropy(X, W, CLASSES, options=types.SimpleNamespace()), TypeError,
     r"options must be a LinearCrossEntropyOptions or None, got type\(options\)='SimpleNamespace'\."),
    (lambda: chunks(batch_chunk_size=2, chunking_method="aspect_ratio:1"), ValueError,
     r"batch_chunk_size and chunking_method must agree, got batch_chunk_size=2 and chunking_method='aspect_ratio:1'"),
    (lambda: chunks(batch_chunk_size=0), ValueError, "batch_chunk_size must be a positive int or None, got batch"),
    (lambda: chunks(chunking_method="aspect_ratio:0"), ValueError, "chunking_method must be 'auto', 'aspect_ratio',"),
    (lambda: chunks(acc_policy="fast"), ValueError, r"acc_policy must be one of torch's, got acc_policy='fast'\."),
]  # fmt: skip

CTC = [
    (lambda: F.ctc_loss(LP.astype("int32"), TARGETS, (5, 5), (2, 2)), TypeError,
     r"ctc_loss: log_probs must be real and floating, got log_probs.dtype='int32'\."),
    (lambda: F.ctc_loss(LP, TARGETS.astype("float32"), (5, 5), (2, 2)), TypeError,
     r"ctc_loss: targets must hold integers, got targets.dtype='float32'\."),
    (lambda: F.ctc_loss(LP[:0], TARGETS, (0, 0), (0, 0)), ValueError,
     r"ctc_loss: log_probs must be \(T, N, C\) or \(T, C\), none of them 0, got log_probs.shape=\(0, 2, 4\)\."),
    (lambda: F.ctc_loss(LP, TARGETS[None], (5, 5), (2, 2)), ValueError, "ctc_loss: targets must be 1-D or 2-D, got"),
    (lambda: F.ctc_loss(LP, TARGETS[:1], (5, 5), (2, 2)), ValueError,
     "ctc_loss: targets must have one row for each of the N columns of log_probs"),
    (lambda: F.ctc_loss(LP, TARGETS, (5, 5), (2, 2), blank=4), ValueError,
     r"ctc_loss: blank must lie in \[0, 4\), got blank=4\."),
    (lambda: F.ctc_loss(LP, TARGETS, 5, (2, 2)), TypeError, "ctc_loss: input_lengths must be an array"),
    (lambda: F.ctc_loss(LP, TARGETS, (5.0, 5.0), (2, 2)), TypeError,
     r"ctc_loss: input_lengths must hold integers, got input_lengths.dtype='float64'\."),
    (lambda: F.ctc_loss(LP, TARGETS, (5, 5), jnp.array([2])), ValueError,
     r"ctc_loss: target_lengths must be \(2,\), one for each sequence, got target_lengths.shape=\(1,\)\."),
    (lambda: F.ctc_loss(LP, TARGETS, (6, 5), (2, 2)), ValueError, r"ctc_loss: input_lengths must lie in \[0, 5\]\."),
    (lambda: F.ctc_loss(LP, TARGETS, (5, 5), np.array([-1, 2])), ValueError, r"target_lengths must lie in \[0, 2\]\."),
    (lambda: F.ctc_loss(LP, TARGETS[0], (5, 5), (2, 2)), ValueError,
     r"ctc_loss: targets must be as long as the sum of target_lengths\."),
    (lambda: F.ctc_loss(LP, 4 * TARGETS, (5, 5), (2, 1)), IndexError,
     r"ctc_loss: targets must lie in \[0, 4\), got targets=4\."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), [*REDUCTIONS, *REGRESSION, *BITS, *MARGINS, *CROSS_ENTROPY, *CTC])
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()
