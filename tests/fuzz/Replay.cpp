//===- Replay.cpp - A fuzz target over seeds and changes of them ----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
//     fuzz_ptx_replay [--changes N] [--seed S] FILE-OR-FOLDER...
//
// Runs the target on every file, and on N changed copies: bytes flipped, pieces
// cut out, doubled or moved, numbers replaced, words exchanged with those of
// another file, the end cut off. The sequence follows from the seed alone. An
// input that ends the process is left in fuzz-last-input, in the current
// folder.
//
//===----------------------------------------------------------------------===//

#include "tests/fuzz/Fuzz.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

using Bytes = std::string;

class Changer {
public:
  Changer(const std::vector<Bytes> &seeds, uint64_t seed)
      : seeds(seeds), random(seed) {}

  Bytes next() {
    Bytes text = seeds[below(seeds.size())];
    for (size_t changes = 1 + below(4); changes; --changes)
      change(text);
    return text;
  }

private:
  size_t below(size_t limit) { return limit ? random() % limit : 0; }
  /// A piece, mostly short.
  std::pair<size_t, size_t> piece(const Bytes &text) {
    size_t begin = below(text.size() + 1);
    size_t most = std::min<size_t>(text.size() - begin, size_t(1) << below(9));
    return {begin, below(most + 1)};
  }
  static bool isWord(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           c == '.' || c == '%';
  }
  /// The word around a random place; maybe empty.
  std::pair<size_t, size_t> word(const Bytes &text) {
    size_t at = below(text.size()), begin = at, end = at;
    while (begin > 0 && isWord(text[begin - 1]))
      --begin;
    while (end < text.size() && isWord(text[end]))
      ++end;
    return {begin, end - begin};
  }

  void change(Bytes &text) {
    static const char *const numbers[] = {"0",
                                          "1",
                                          "-1",
                                          "255",
                                          "65536",
                                          "1e308",
                                          "2147483647",
                                          "2147483648",
                                          "4294967295",
                                          "18446744073709551615",
                                          "0x7fffffffffffffff",
                                          "nan"};
    auto [begin, length] = piece(text);
    switch (below(9)) {
    case 0:
      if (!text.empty())
        text[below(text.size())] ^= static_cast<char>(1 << below(8));
      return;
    case 1:
      if (!text.empty())
        text[below(text.size())] = static_cast<char>(random());
      return;
    case 2:
      text.erase(begin, length);
      return;
    case 3:
      text.insert(begin, text.substr(begin, length));
      return;
    case 4: {
      Bytes moved = text.substr(begin, length);
      text.erase(begin, length);
      text.insert(below(text.size() + 1), moved);
      return;
    }
    case 5: {
      auto [at, size] = word(text);
      text.replace(at, size, numbers[below(std::size(numbers))]);
      return;
    }
    case 6:
    case 7: {
      const Bytes &other = seeds[below(seeds.size())];
      auto [from, count] = word(other);
      auto [at, size] = word(text);
      text.replace(at, size, other.substr(from, count));
      return;
    }
    default:
      text.resize(begin);
    }
  }

  const std::vector<Bytes> &seeds;
  std::mt19937_64 random;
};

/// What runs now, for the signal handler.
const Bytes *current = nullptr;

void run(const Bytes &input) {
  current = &input;
  // Exactly as large as the input: what reads beyond it is seen by ASan.
  std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

extern "C" void keepInput(int signal) {
  int file = open("fuzz-last-input", O_WRONLY | O_CREAT | O_TRUNC, 0666);
  bool kept = file >= 0 && current &&
              write(file, current->data(), current->size()) ==
                  static_cast<ssize_t>(current->size());
  const char text[] = "the input lies in fuzz-last-input\n";
  if (kept)
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
  raise(signal); // Reset to what it does by default.
}

bool readSeeds(const std::filesystem::path &path, std::vector<Bytes> &seeds) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    std::vector<std::filesystem::path> files;
    for (const auto &entry : std::filesystem::directory_iterator(path, error))
      files.push_back(entry.path());
    std::sort(files.begin(), files.end()); // The same order everywhere.
    return std::all_of(files.begin(), files.end(), [&](const auto &file) {
      return readSeeds(file, seeds);
    });
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  seeds.emplace_back(std::istreambuf_iterator<char>(file),
                     std::istreambuf_iterator<char>());
  return true;
}

} // namespace

int main(int argc, char **argv) {
  unsigned long changes = 0, seed = 1;
  std::vector<Bytes> seeds;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if ((argument == "--changes" || argument == "--seed") && i + 1 < argc)
      (argument == "--seed" ? seed : changes) =
          std::strtoul(argv[++i], nullptr, 10);
    else if (!readSeeds(argument, seeds))
      return 2;
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "usage: replay [--changes N] [--seed S] FILE...\n");
    return 2;
  }
  struct sigaction action = {};
  action.sa_handler = keepInput;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT})
    sigaction(signal, &action, nullptr);
  for (const Bytes &text : seeds)
    run(text);
  Changer changer(seeds, seed);
  for (unsigned long i = 0; i < changes; ++i) {
    Bytes input = changer.next();
    run(input);
  }
  std::printf("%zu seeds, %lu changed inputs: no crash\n", seeds.size(),
              changes);
  return 0;
}
