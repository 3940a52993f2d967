//===- Traffic.h - What kernels move and compute, predicted -----*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// How much of every buffer each kernel of a program reads and writes, for given
// sizes, without running it: from the tile kernel, the schedule it will get and
// the placement of its stages. The unit on a GPU is the 32-byte *sector*, what
// its memory system moves at least; a warp's request counts every sector it
// touches once, as the simulator counts them (docs/simulator.md), so that
// prediction and count can be compared number by number.
//
// Products. A thread block makes a tile of tileM x tileN. For each of its
// steps along K it copies tileM rows of every left operand and tileN rows of
// every right one, so that a left operand is read once for every column of
// tiles and a right one once for every row of tiles. Rows beyond M or N, and
// what lies beyond K, are not read. A row of a step is 32, 64 or 128 bytes: one
// that begins within a sector (K no multiple of 32 bytes) touches one sector
// more. What the epilogue loads by row or by element it loads for each of its
// rows, 32 neighbouring columns to a request; what depends on the column alone,
// such as a weight's scales, a thread keeps for all its rows. Stores are as
// many requests as rows of 32 columns, and nothing beyond M or N is stored.
// Factors of partial sums are loaded by every warp at the end of each of them,
// one request for every row and column that a fragment of the matrix
// instruction gives a thread.
//
// Stages behind a product read what they reduce and encode from shared memory,
// which is not counted, and store codes in the order in which their teams of
// threads take the elements of a block. Where tiles share blocks (`grid`,
// `panel`) each combines a word per block and reduction with those of the
// others in global memory, announces itself, takes its work from a queue, waits
// (once, as if nobody had to try again), and reads the words. `panel` also
// writes the whole value and reads it back. Clusters exchange through shared
// memory.
//
// Blocks. A team of 32 or 256 threads runs over each box in order, 32
// neighbouring elements to a request, once for every reduction and map. What a
// team needs once per block every one of its warps loads. Where stages share a
// kernel (strips) they hand each other what they make through shared memory,
// which is not counted, and teams of fewer lanes make a warp's requests
// together.
//
// What is computed exactly and what is not. Requests are enumerated with the
// addresses they will have, buffers being 32-byte aligned, for a sample of the
// tiles or blocks that holds the last ones; the others are taken to be like
// their neighbours. Loads that the compiler of the GPU moves or leaves out are
// predicted by rules that hold for what NVRTC 13 does. Indices that are data
// are taken to touch a sector each.
//
// On a CPU there are no sectors: bytes are those that loops load and store, an
// operand of a product once.
//
// Thread-safety: functions, no state.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_COMPILER_SELECT_TRAFFIC_H
#define QUERN_COMPILER_SELECT_TRAFFIC_H

#include <cstdint>
#include <string>
#include <vector>

namespace quern::select {

/// The layer's sizes for which something is predicted: a value per symbol.
using Sizes = std::vector<int64_t>;

/// Numbers are expectations over samples, so not whole.
struct Moved {
  double bytesRead = 0, bytesWritten = 0;
  double sectorsRead = 0, sectorsWritten = 0; ///< 0 on a CPU.

  double bytes() const { return bytesRead + bytesWritten; }
  double sectors() const { return sectorsRead + sectorsWritten; }
  /// What the memory system moves: whole sectors where there are any.
  double traffic() const { return sectors() > 0 ? 32 * sectors() : bytes(); }
  Moved &operator+=(const Moved &other) {
    bytesRead += other.bytesRead, bytesWritten += other.bytesWritten;
    sectorsRead += other.sectorsRead, sectorsWritten += other.sectorsWritten;
    return *this;
  }
};

/// What a kernel moves of one buffer.
struct BufferTraffic {
  /// As the layer calls it: "x", "w.codes". Of a kernel's own: "state", and
  /// "value" for what stages leave in memory for others.
  std::string buffer;
  bool isOwn = false;
  double bytes = 0; ///< The buffer's size.
  Moved moved;
  /// Bytes read by stages of blocks, not as an operand of a product: what a
  /// quantization reads of the value it quantizes.
  double bytesReadByBlocks = 0, sectorsReadByBlocks = 0;

  double trafficOfBlocks() const {
    return sectorsReadByBlocks > 0 ? 32 * sectorsReadByBlocks
                                   : bytesReadByBlocks;
  }
};

/// One kind of arithmetic in a kernel.
struct KernelPart {
  std::string what;  ///< "product of i8 and i8", "maximum of 11008 elements"
  std::string klass; ///< exact, ordered or bounded
  bool operator==(const KernelPart &) const = default;
};

/// One launch.
struct KernelTraffic {
  std::string kernel; ///< The tile kernel's name.
  bool prepares = false;
  /// It is launched for other sizes; the rest is empty.
  bool isSkipped = false;
  /// Why nothing is predicted; empty where something is.
  std::string unknown;
  std::vector<BufferTraffic> buffers;
  std::vector<std::string> writes; ///< Of the layer's buffers.
  double multiplyAdds = 0;         ///< Of products.
  /// Bytes of an element the product multiplies, and whether as floats.
  unsigned elementBytes = 0;
  bool isFloat = false;
  double scalarOps = 0; ///< f32 and i32 operations beside them.
  std::vector<KernelPart> parts;

  Moved moved() const {
    Moved sum;
    for (const BufferTraffic &buffer : buffers)
      sum += buffer.moved;
    return sum;
  }
  /// Bytes that memory has to move at least: every buffer once.
  double leastBytes() const;
};

/// The launches of a program, in order.
struct ProgramTraffic {
  std::vector<KernelTraffic> kernels;

  /// Of those in every run; of one buffer where a name is given.
  Moved moved(const std::string &buffer = {}) const;
};

} // namespace quern::select

#endif // QUERN_COMPILER_SELECT_TRAFFIC_H
