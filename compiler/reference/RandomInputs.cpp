//===- RandomInputs.cpp - Inputs for a layer from a seed ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/RandomInputs.h"

#include "compiler/reference/Floats.h"
#include "compiler/reference/Machine.h"
#include "compiler/reference/Symbols.h"

#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <limits>

using namespace mlir;
using namespace quern::ir;

namespace quern::reference {

//===----------------------------------------------------------------------===//
// Random
//===----------------------------------------------------------------------===//

Random::Random(uint64_t seed) {
  for (uint64_t &word : state) { // splitmix64
    seed += 0x9e3779b97f4a7c15ull;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    word = z ^ (z >> 31);
  }
}

uint64_t Random::next() {
  uint64_t result = std::rotl(state[1] * 5, 7) * 9;
  uint64_t t = state[1] << 17;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= t;
  state[3] = std::rotl(state[3], 45);
  return result;
}

uint64_t Random::below(uint64_t n) {
  // Multiply-shift; its bias of n / 2^64 is nothing to a test.
  return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >>
                               64);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

double Random::normal() {
  // The sum of twelve uniform numbers has variance 1. Twelve lanes of 16 bits
  // from three words keep it in integers until one exact scaling.
  int64_t sum = 0;
  for (int word = 0; word < 3; ++word) {
    uint64_t bits = next();
    for (int lane = 0; lane < 4; ++lane, bits >>= 16)
      sum += static_cast<int64_t>(bits & 0xffff);
  }
  // Twice the sum, centred: each lane's mean is (2^16 - 1) / 2.
  return static_cast<double>(2 * sum - 12 * 0xffff) * 0x1p-17;
}

//===----------------------------------------------------------------------===//
// Filling
//===----------------------------------------------------------------------===//

static double largestFinite(DType type) {
  switch (type) {
  case DType::F16:
    return 65504.0;
  case DType::BF16:
    return decodeFloat(DType::BF16, 0x7f7f);
  case DType::F8E4M3:
    return 448.0;
  case DType::F8E5M2:
    return 57344.0;
  case DType::U8:
    return 255.0;
  case DType::I8:
    return 127.0;
  case DType::U4:
    return 15.0;
  case DType::I4:
    return 7.0;
  default:
    return std::numeric_limits<float>::max();
  }
}

static double smallestNormal(DType type) {
  switch (type) {
  case DType::F16:
  case DType::F8E5M2:
    return 0x1p-14;
  case DType::F8E4M3:
    return 0x1p-6;
  default:
    return 0x1p-126;
  }
}

static int64_t lastExtent(const HostTensor &tensor) {
  return tensor.shape.empty() ? 1 : tensor.shape.back();
}

static void fillCodes(Random &random, HostTensor &tensor) {
  for (int64_t i = 0; i < tensor.elements(); ++i)
    switch (tensor.dtype) {
    case DType::I8:
      tensor.as<int8_t>()[i] =
          static_cast<int8_t>(static_cast<int64_t>(random.below(255)) - 127);
      break;
    case DType::U8:
      tensor.as<uint8_t>()[i] = static_cast<uint8_t>(random.below(256));
      break;
    case DType::I4:
      tensor.set(i, static_cast<double>(random.below(16)) - 8);
      break;
    case DType::U4:
      tensor.set(i, static_cast<double>(random.below(16)));
      break;
    default: {
      // Magnitudes up to the largest finite pattern, then a sign.
      uint64_t finite = tensor.dtype == DType::F8E4M3 ? 0x7f : 0x7c;
      uint64_t code = random.below(2 * finite);
      tensor.as<uint8_t>()[i] =
          static_cast<uint8_t>(code < finite ? code : 0x80 | (code - finite));
    }
    }
}

static void fillNormal(Random &random, HostTensor &tensor, bool weight) {
  int64_t length = lastExtent(tensor);
  std::vector<double> size(
      length, weight ? 1 / std::sqrt(static_cast<double>(length)) : 1.0);
  if (!weight)
    for (double &channel : size)
      if (random.below(61) == 0)
        channel = 8 + 16 * random.uniform();
  for (int64_t i = 0; i < tensor.elements(); ++i)
    tensor.set(i, random.normal() * size[i % length]);
}

//===----------------------------------------------------------------------===//
// Corners
//===----------------------------------------------------------------------===//

/// Codes, scales and zero points of quantized operands, or activations.
static bool isOfCodes(Corner corner) { return corner >= Corner::ExtremeCodes; }

/// Every 41st element or so; the large numbers are small enough to be summed.
static void scatter(Random &random, HostTensor &tensor) {
  static constexpr double corners[] = {std::numeric_limits<double>::quiet_NaN(),
                                       std::numeric_limits<double>::infinity(),
                                       -std::numeric_limits<double>::infinity(),
                                       0.0,
                                       -0.0,
                                       1e-41,
                                       65504.0,
                                       -1e15};
  int64_t step = 41 + static_cast<int64_t>(random.below(13));
  for (int64_t i = static_cast<int64_t>(random.below(17));
       i < tensor.elements(); i += step)
    tensor.set(i, corners[random.below(std::size(corners))]);
}

static void fillBetween(Random &random, HostTensor &tensor, double low,
                        double high) {
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    double value = low + (high - low) * random.uniform();
    tensor.set(i, random.below(2) ? value : -value);
  }
}

/// What becomes of one row where a corner is one of rows.
static Corner cornerOfRow(Corner corner, int64_t row) {
  switch (corner) {
  case Corner::Zeros:
  case Corner::OneHot:
    return corner;
  case Corner::MixedRows:
    return row % 4 == 1   ? Corner::ZeroRows
           : row % 4 == 2 ? Corner::NaNRows
                          : Corner::None;
  default:
    return row % 3 == 0 ? corner : Corner::None;
  }
}

/// Writes over an activation.
static void applyCorner(Random &random, Corner corner, HostTensor &tensor) {
  int64_t length = lastExtent(tensor);
  if (tensor.elements() == 0)
    return;
  switch (corner) {
  case Corner::Denormals:
    return fillBetween(random, tensor, 0, 0.99 * smallestNormal(tensor.dtype));
  case Corner::Large:
    return fillBetween(random, tensor, 0.25 * largestFinite(tensor.dtype),
                       largestFinite(tensor.dtype));
  case Corner::Constant: {
    double value = random.normal();
    for (int64_t i = 0; i < tensor.elements(); ++i)
      tensor.set(i, value);
    return;
  }
  case Corner::Scattered:
    return scatter(random, tensor);
  case Corner::Zeros:
  case Corner::ZeroRows:
  case Corner::OneHot:
  case Corner::NaNRows:
  case Corner::InfRows:
  case Corner::MixedRows:
    break;
  default:
    return;
  }
  for (int64_t row = 0; row < tensor.elements() / length; ++row) {
    double sign = row % 2 ? -1.0 : 1.0;
    int64_t chosen = row * length + static_cast<int64_t>(random.below(length));
    switch (cornerOfRow(corner, row)) {
    case Corner::NaNRows:
      tensor.set(chosen, std::numeric_limits<double>::quiet_NaN());
      break;
    case Corner::InfRows:
      tensor.set(chosen, sign * std::numeric_limits<double>::infinity());
      break;
    case Corner::None:
      break;
    default:
      for (int64_t i = 0; i < length; ++i)
        tensor.set(row * length + i, sign * 0.0);
      if (corner == Corner::OneHot)
        tensor.set(chosen, sign * (1 + 15 * random.uniform()));
    }
  }
}

static void fillExtremes(Random &random, HostTensor &tensor) {
  double largest = largestFinite(tensor.dtype);
  double least = -largest;
  if (tensor.dtype == DType::I8 || tensor.dtype == DType::I4)
    least -= 1;
  if (tensor.dtype == DType::U8 || tensor.dtype == DType::U4)
    least = 0;
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    uint64_t which = random.below(16);
    tensor.set(i, which == 0 ? 0.0 : which % 2 ? largest : least);
  }
}

/// Writes over the parts of a quantized operand; `zeros` may be null.
static void applyCorner(Random &random, Corner corner, HostTensor &codes,
                        HostTensor &scales, HostTensor *zeros) {
  if (corner == Corner::ExtremeCodes || corner == Corner::ExtremeZeros)
    fillExtremes(random, codes);
  if (corner == Corner::ExtremeZeros && zeros)
    fillExtremes(random, *zeros);
  if (corner != Corner::TinyScales && corner != Corner::HugeScales)
    return;
  double unit = corner == Corner::TinyScales
                    ? smallestNormal(scales.dtype)
                    : std::sqrt(largestFinite(scales.dtype));
  for (int64_t s = random.below(2); s < scales.elements(); s += 2)
    scales.set(s, unit * (0.5 + random.uniform()));
}

bool applies(Corner corner, func::FuncOp layer) {
  if (corner == Corner::None)
    return true;
  for (unsigned i = 0; i < layer.getNumArguments(); ++i) {
    Type type = layer.getArgument(i).getType();
    if (auto quantized = dyn_cast<QTensorType>(type)) {
      if (isOfCodes(corner) &&
          (corner != Corner::ExtremeZeros || quantized.hasZeros()))
        return true;
    } else if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      if (!isOfCodes(corner) && isa<FloatType>(tensor.getElementType()) &&
          !layer.getArgAttr(i, weightAttrName))
        return true;
    }
  }
  return false;
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

Result<std::vector<HostTensor>> randomInputs(func::FuncOp layer,
                                             ArrayRef<int64_t> symbols,
                                             uint64_t seed, Corner corner) {
  Result<std::vector<SignatureTensor>> signature = inputsOf(layer);
  if (!signature)
    return signature.error();
  Result<std::vector<SymbolAttr>> declared = symbolsOf(layer);
  if (!declared)
    return declared.error();
  if (declared->size() != symbols.size())
    return fail(Errc::InvalidArgument,
                fmt::format("layer {}: {} symbol values given, {} declared",
                            layer.getName().str(), symbols.size(),
                            declared->size()));
  std::vector<HostTensor> inputs;
  for (const SignatureTensor &tensor : *signature) {
    std::vector<int64_t> shape;
    int64_t size = 8;
    for (AffineExpr dim : getDims(tensor.type)) {
      std::optional<int64_t> extent = evaluateExpr(dim, symbols);
      if (!extent || *extent < 0 ||
          __builtin_mul_overflow(size, *extent, &size))
        return fail(Errc::InvalidArgument,
                    fmt::format("layer {}: these symbol values give {} an "
                                "impossible shape",
                                layer.getName().str(), tensor.name));
      shape.push_back(*extent);
    }
    inputs.emplace_back(*getDType(tensor.type.getElementType()),
                        std::move(shape));
  }

  size_t next = 0;
  for (unsigned i = 0; i < layer.getNumArguments(); ++i) {
    bool weight = static_cast<bool>(layer.getArgAttr(i, weightAttrName));
    Random random(seed * 0x9e3779b97f4a7c15ull + i);
    HostTensor &first = inputs[next++];
    if (isa<QTensorType>(layer.getArgument(i).getType())) {
      HostTensor &scales = inputs[next++];
      fillCodes(random, first);
      double k = static_cast<double>(std::max<int64_t>(lastExtent(first), 1));
      double unit = 1 / (largestFinite(first.dtype) * std::sqrt(k));
      for (int64_t s = 0; s < scales.elements(); ++s)
        scales.set(s, unit * (0.5 + random.uniform()));
      HostTensor *zeros = nullptr;
      if (cast<QTensorType>(layer.getArgument(i).getType()).hasZeros())
        fillCodes(random, *(zeros = &inputs[next++]));
      applyCorner(random, corner, first, scales, zeros);
      continue;
    }
    switch (first.dtype) {
    case DType::I8:
    case DType::U8:
      fillCodes(random, first);
      break;
    case DType::I32:
    case DType::I64:
    case DType::Bool:
      for (int64_t e = 0; e < first.elements(); ++e)
        first.set(e, static_cast<double>(
                         random.below(first.dtype == DType::Bool ? 2 : 64)));
      break;
    default:
      fillNormal(random, first, weight);
      if (!weight)
        applyCorner(random, corner, first);
    }
  }
  return inputs;
}

} // namespace quern::reference
