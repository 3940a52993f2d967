"""Compares the quantized block's output with the float32 network.

    compare.py DATA OUTPUT.npy

DATA is the folder that prepare.py wrote. Prints how far quantization moves the
block's output and the sentence embeddings that follow from it, and exits 1 when
that is further than W8A8 explains.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from prepare import SENTENCES, embed, find_pairs

# Exact W8A8 arithmetic gives 0.9981, 0.0184 and 0.99992. One scale for all
# tokens instead of one each gives 0.9908, 0.0362 and 0.99976; one lost channel
# of 384 gives 0.9902, 0.0265 and 0.99828. compare_test.py computes these.
MIN_COSINE = 0.999
MIN_TOKEN_COSINE = 0.9975
MAX_RELATIVE_ERROR = 0.0210
MIN_SENTENCE_COSINE = 0.99985


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def main():
    parser = argparse.ArgumentParser(description="Compares the quantized block with the float32 network.")
    parser.add_argument("data", type=Path, help="the folder that prepare.py wrote")
    parser.add_argument("output", type=Path, help="the block's output, as .npy")
    arguments = parser.parse_args()

    x, y = np.load(arguments.data / "x.npy"), np.load(arguments.data / "y.npy")
    pooling = np.load(arguments.data / "pooling.npz")
    output = np.load(arguments.output)
    if output.shape != y.shape:
        print(f"compare: {arguments.output} is {output.shape}; the float32 output is {y.shape}", file=sys.stderr)
        return 1
    if not np.isfinite(output).all():
        print(f"compare: {arguments.output} holds {(~np.isfinite(output)).sum()} values that are not finite", file=sys.stderr)
        return 1

    error = np.abs(output.astype(np.float64) - y)
    worst = np.unravel_index(error.argmax(), error.shape)
    relative = np.linalg.norm(error) / np.linalg.norm(y)
    tokens = cosine(output, y)
    whole = float(cosine(output.ravel(), y.ravel()))
    exact, quantized = (embed(x, block, pooling["lengths"], pooling["norm"]) for block in (y, output))
    sentences = cosine(exact, quantized)
    pairs_found = int((find_pairs(quantized) == np.arange(len(SENTENCES)) ^ 1).sum())

    print(f"block output, {len(y)} tokens against float32:")
    print(f"  cosine similarity   {whole:.6f} over all elements (at least {MIN_COSINE})")
    print(f"  of single tokens    mean {tokens.mean():.6f}, worst {tokens.min():.6f} (at least {MIN_TOKEN_COSINE})")
    print(f"  relative error      {relative:.5f} (at most {MAX_RELATIVE_ERROR})")
    print(f"  worst element       {output[worst]:.5f} where float32 has {y[worst]:.5f}, at token {worst[0]}, channel {worst[1]}")
    print(f"sentence embeddings, {len(SENTENCES)} sentences:")
    print(f"  cosine similarity   worst {sentences.min():.6f} (at least {MIN_SENTENCE_COSINE})")
    print(f"  pairs found again   {pairs_found} of {len(SENTENCES)}")
    good = (whole >= MIN_COSINE and tokens.min() >= MIN_TOKEN_COSINE and relative <= MAX_RELATIVE_ERROR
            and sentences.min() >= MIN_SENTENCE_COSINE and pairs_found == len(SENTENCES))
    print("right" if good else "WRONG: further from float32 than eight bits explain")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
