"""Figures of the paper that ours are compared with; those of its hardware are in `hardware.published_head`."""

#: The fitted charge law at a word-line voltage of 0.9 V, 1 at +0.45 V: coefficients of 1, y, y^2, y^3 in V^-i, from the
#: ten that the authors released.
LAW = (0.051, 1.320, -0.254, 4.466)
#: The same law at +0.45 V, in model units.
LAW_AT_REFERENCE = 10.313
#: Retention of the CMOS cell, in s, and what a token loses of its voltage in GPT-2's 12 layers of 65 ns.
TAU_S, LEAK_PER_TOKEN = 5e-3, 1.6e-4
LAYERS, TOKEN_PERIOD_S = 12, 0.78e-6

#: Longest pulse of the charge-to-pulse circuit, in s.
PULSE_MAX_S = 15e-9

#: Perplexity of the nonlinear model before and after its statistics are matched, without training.
PERPLEXITY_UNMATCHED, PERPLEXITY_MATCHED = 1757.0, 21.0

#: Tokens of one iteration of the linear model: 120 x 16 rows of 1,024.
ITERATION_TOKENS = 120 * 16 * 1024
#: Iterations of the two trainings whose curves are released.
LINEAR_ITERATIONS, CUBIC_ITERATIONS = 2900, 5900
#: Cross-entropy on OpenWebText, in nats a token.
LINEAR_LOSS = 3.13
MATCHED_LOSS = 3.249
CUBIC_LOSS = 3.12
DIRECT_LOSS_BEFORE, DIRECT_LOSS = 6.84, 3.86
SCRATCH_LOSS = 5.47

#: Mean accuracy in % over ARC-E, ARC-C, WinoGrande, HellaSwag, LAMBADA and PIQA, and perplexity, of two softmax models:
#: GPT-2 as it is public, and the same architecture trained from scratch. "The hardware models are comparable to or
#: better than the latter."
GPT2_ACCURACY, GPT2_PERPLEXITY = 43.02, 36.26
SCRATCH_ACCURACY, SCRATCH_PERPLEXITY = 41.46, 43.82

#: Quoted ratios to an H100, whose measured figures are not released.
H100_LATENCY_RATIO, H100_ENERGY_RATIO = 100.0, 70_000.0
