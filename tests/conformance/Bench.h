//===- Bench.h - What a conformance case may do -----------------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The conformance set asks a CUDA device whether its instructions do what the
// PTX ISA says. A case draws data, launches a small kernel of
// tests/conformance/kernels and compares what it wrote with what this side
// computes from the ISA's index formulas and definitions. The device is
// whatever fills a driver table: a GPU, or the simulator. A case cannot tell,
// and nothing a case is made of includes the simulator, the emitter or the
// runtime's own number formats: an error they share cannot hide here.
//
// Two kinds of result:
//
//   exact     the ISA defines every bit: `expectBits`
//   bounded   the ISA leaves the order of a sum, or the last bits of an
//             approximation, to the hardware: `expectNear`, with a tolerance
//             that the case states, and the bits as they came are recorded so
//             that a later run, or another device, can be compared bit for bit
//
// A case that cannot go on throws (`CaseError`); the runner reports it.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TESTS_CONFORMANCE_BENCH_H
#define QUERN_TESTS_CONFORMANCE_BENCH_H

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace quern::conformance {

/// Why a case cannot go on.
struct CaseError {
  enum class Kind {
    Failed,      ///< The device did something else than the ISA says.
    Unsupported, ///< The device does not know an instruction or a call.
  };
  Kind kind;
  std::string message;
};

using Words = std::vector<uint32_t>;

/// xorshift64*: the same numbers everywhere.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
  }
  uint32_t bits() { return static_cast<uint32_t>(next() >> 32); }
  uint32_t below(uint32_t n) { return bits() % n; }
  /// +-(1 + m) 2^e with a mantissa of `mantissaBits` and e in [low, high].
  double number(int mantissaBits, int low, int high);

private:
  uint64_t state;
};

/// A device address.
struct Buffer {
  uint64_t address = 0;
  size_t bytes = 0;
};

/// What `cuTensorMapEncodeTiled` is told; see the CUDA driver API.
struct TensorMapShape {
  int dataType = 0; ///< CUtensorMapDataType.
  std::vector<uint64_t> extents;
  std::vector<uint64_t> strides; ///< Bytes, of dimensions 1 and up.
  std::vector<uint32_t> box;
  std::vector<uint32_t> elementStrides;
  int swizzle = 0; ///< CUtensorMapSwizzle: none, 32, 64, 128 bytes.
  bool fillNan = false;
};
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

struct Extent {
  unsigned x = 1, y = 1, z = 1;
};
struct Launch {
  Extent grid = {};
  Extent block = {32};
  unsigned dynamicShared = 0;
  unsigned cluster = 0; ///< Blocks in x; 0: no cluster attribute.
  bool cooperative = false;
  bool dependent = false; ///< Programmatic stream serialization.
};

/// How many of the sums of a bounded check a model of the accumulation
/// reproduces bit for bit.
struct ModelShare {
  std::string model;
  size_t equal = 0, of = 0;
};

class Bench {
public:
  virtual ~Bench() = default;

  Random &random() { return generator; }
  /// Compute capability times ten.
  virtual int capability() const = 0;

  /// A device buffer that kernels only read, or one filled with 0xcd.
  template <typename T>
  Buffer input(const std::vector<T> &data, const char *name = "input") {
    return makeBuffer(data.data(), data.size() * sizeof(T), true, name);
  }
  template <typename T>
  Buffer inout(const std::vector<T> &data, const char *name = "inout") {
    return makeBuffer(data.data(), data.size() * sizeof(T), false, name);
  }
  Buffer output(size_t bytes, const char *name = "output") {
    std::vector<uint8_t> fill(bytes, 0xcd);
    return makeBuffer(fill.data(), bytes, false, name);
  }
  template <typename T> std::vector<T> read(const Buffer &buffer) {
    std::vector<T> data(buffer.bytes / sizeof(T));
    readBuffer(buffer, data.data());
    return data;
  }
  virtual TensorMap tensorMap(const Buffer &buffer,
                              const TensorMapShape &shape) = 0;

  /// Launches a kernel of the case's file and waits for it. Arguments are
  /// passed by value.
  template <typename... Args>
  void launch(const std::string &kernel, const Launch &shape,
              const Args &...args) {
    void *pointers[] = {pointerTo(args)..., nullptr};
    launchRaw(kernel, shape, pointers);
  }

  /// All elements must have the same bits.
  template <typename T>
  void expectBits(const std::string &what, const std::vector<T> &expected,
                  const std::vector<T> &actual) {
    static_assert(std::is_trivially_copyable_v<T>);
    compareBits(what, expected.data(), expected.size(), actual.data(),
                actual.size(), sizeof(T));
  }
  /// |actual - expected| <= tolerance; `bits` are the actual values as they
  /// came. NaN equals NaN.
  virtual void expectNear(const std::string &what,
                          const std::vector<double> &expected,
                          const std::vector<double> &actual,
                          const std::vector<double> &tolerance,
                          const std::vector<uint32_t> &bits) = 0;
  virtual void expect(bool holds, const std::string &what) = 0;
  virtual void recordModel(const ModelShare &share) = 0;

protected:
  explicit Bench(uint64_t seed) : generator(seed) {}

  virtual Buffer makeBuffer(const void *data, size_t bytes, bool readOnly,
                            const char *name) = 0;
  virtual void readBuffer(const Buffer &buffer, void *to) = 0;
  virtual void launchRaw(const std::string &kernel, const Launch &shape,
                         void **arguments) = 0;
  virtual void compareBits(const std::string &what, const void *expected,
                           size_t expectedCount, const void *actual,
                           size_t actualCount, size_t elementBytes) = 0;

private:
  static void *pointerTo(const Buffer &buffer) {
    return const_cast<uint64_t *>(&buffer.address);
  }
  template <typename T> static void *pointerTo(const T &value) {
    return const_cast<T *>(&value);
  }

  Random generator;
};

struct Case {
  std::string name;
  /// The kernel file, without folder and suffix.
  const char *file;
  std::function<void(Bench &)> run;
};

/// Every case, in the order in which they run.
std::vector<Case> allCases();

/// The families; each in its own file under families/.
std::vector<Case> integerCases();
std::vector<Case> floatCases();
std::vector<Case> halfCases();
std::vector<Case> convertCases();
std::vector<Case> warpCases();
std::vector<Case> atomicCases();
std::vector<Case> copyCases();
std::vector<Case> matrixLoadCases();
std::vector<Case> matrixByteCases();
std::vector<Case> mmaCases();
std::vector<Case> scaledMmaCases();
std::vector<Case> barrierCases();
std::vector<Case> controlCases();
std::vector<Case> clusterCases();
std::vector<Case> bulkCases();
std::vector<Case> tensorCases();
std::vector<Case> wgmmaCases();

} // namespace quern::conformance

#endif // QUERN_TESTS_CONFORMANCE_BENCH_H
