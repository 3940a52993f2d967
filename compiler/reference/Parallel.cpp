//===- Parallel.cpp - Splitting a range over threads ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/reference/Parallel.h"

#include <algorithm>
#include <pthread.h>
#include <vector>

namespace quern::reference {

namespace {
struct Part {
  llvm::function_ref<void(int64_t, int64_t)> work;
  int64_t begin, end;
};
} // namespace

static void *runPart(void *argument) {
  auto *part = static_cast<Part *>(argument);
  part->work(part->begin, part->end);
  return nullptr;
}

void parallelFor(unsigned threads, int64_t items, int64_t grain,
                 llvm::function_ref<void(int64_t, int64_t)> work) {
  if (items <= 0)
    return;
  int64_t parts = std::clamp<int64_t>(items / std::max<int64_t>(grain, 1), 1,
                                      std::max(threads, 1u));
  if (parts == 1)
    return work(0, items);
  std::vector<Part> list;
  for (int64_t i = 0; i < parts; ++i)
    list.push_back({work, items * i / parts, items * (i + 1) / parts});
  // pthread_create reports failure by value; std::thread would throw, and
  // this code is built without exceptions.
  std::vector<pthread_t> handles;
  for (size_t i = 1; i < list.size(); ++i) {
    pthread_t handle;
    if (pthread_create(&handle, nullptr, runPart, &list[i]) == 0)
      handles.push_back(handle);
    else
      runPart(&list[i]);
  }
  runPart(&list[0]);
  for (pthread_t handle : handles)
    pthread_join(handle, nullptr);
}

} // namespace quern::reference
