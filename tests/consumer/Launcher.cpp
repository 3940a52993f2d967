//===- Launcher.cpp - The runtime beside another LLVM ---------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Launcher llvm-first|quern-first PLUGIN MODULE: opens LLVM 14, with its
// symbols for all to see, and the plugin in the order asked for, and uses both
// in turn. Exit status 77: there is no LLVM 14 here.
//
//===----------------------------------------------------------------------===//

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <initializer_list>

static int fault(const char *what) {
  std::fprintf(stderr, "%s: %s\n", what, dlerror());
  return 1;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  bool llvmFirst = std::strcmp(argv[1], "llvm-first") == 0;
  void *llvm = nullptr, *plugin = nullptr;
  for (bool openLlvm : {llvmFirst, !llvmFirst}) {
    if (openLlvm &&
        !(llvm = dlopen("libLLVM-14.so.1", RTLD_NOW | RTLD_GLOBAL))) {
      std::printf("skipped: %s\n", dlerror());
      return 77;
    }
    if (!openLlvm && !(plugin = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL)))
      return fault("plugin");
  }
  auto makeContext =
      reinterpret_cast<void *(*)()>(dlsym(llvm, "LLVMContextCreate"));
  auto freeContext =
      reinterpret_cast<void (*)(void *)>(dlsym(llvm, "LLVMContextDispose"));
  auto runGolden =
      reinterpret_cast<int (*)(const char *)>(dlsym(plugin, "runGolden"));
  auto compileAndRun =
      reinterpret_cast<int (*)()>(dlsym(plugin, "compileAndRun"));
  if (!makeContext || !freeContext || !runGolden || !compileAndRun)
    return fault("symbol");
  // Where the compiler is built it brings a third LLVM user into the process.
  bool compiler = std::getenv("QUERN_COMPILER") != nullptr;
  for (int i = 0; i < 3; ++i) {
    void *context = makeContext();
    int wrong = runGolden(argv[3]);
    if (compiler && !wrong)
      wrong = compileAndRun();
    freeContext(context);
    if (wrong)
      return 1;
  }
  return 0;
}
