//===- CompilerAbi.h - The compiler library's C interface -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// The compiler is a shared library that the runtime opens only when it must
// generate code. It exports one function, `quern_compiler_v0`, and nothing
// else. Only C types cross the boundary, so that runtime and compiler may be
// built by different compilers against different standard libraries.
//
// Ownership: whatever a result points at belongs to the compiler until
// `release`. Strings are zero-terminated UTF-8 and never null. Both functions
// may be called from several threads at once, and neither throws.
//
// Growth: structs are extended at the end; `structBytes` tells what the other
// side knows. A change that cannot be made so is quern_compiler_v1.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_JIT_COMPILERABI_H
#define QUERN_JIT_COMPILERABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct QuernCompileRequest {
  uint32_t structBytes; /* sizeof(QuernCompileRequest) */
  uint32_t settingCount;
  const char *source; /* The layer's text; not zero-terminated. */
  uint64_t sourceBytes;
  const char *name; /* What messages call the text; often a path. */
  /* "cpu", "cpu:LEVEL" or "cuda:sm_NN": never "sim:" or a bare "cuda". */
  const char *target;
  /* For target "cpu": the machine's features in LLVM's spelling, separated by
   * commas, sorted. Else empty. Code must not depend on any other property of
   * the machine. */
  const char *features;
  const char *const *settings; /* "name=value", such as "numerics=fast". */
} QuernCompileRequest;

/* One error. */
typedef struct QuernDiagnostic {
  int32_t code; /* A quern::Errc. */
  uint32_t line;
  uint32_t column;
  uint32_t noteCount;
  const char *message;
  const char *file;
  const char *sourceLine;
  const char *const *notes;
} QuernDiagnostic;

typedef struct QuernCompileResult {
  uint32_t structBytes; /* Set by the caller. */
  /* -1: success. Else a quern::Errc, and the diagnostic below. */
  int32_t code;
  const void *module; /* The module's file, on success. */
  uint64_t moduleBytes;
  const char *message;
  const char *file;
  const char *sourceLine;
  uint32_t line;
  uint32_t column;
  const char *const *notes;
  uint32_t noteCount;
  void *owner; /* The compiler's. */
  /* Further errors of the same text. */
  const QuernDiagnostic *others;
  uint64_t otherCount;
} QuernCompileResult;

typedef struct QuernCompiler {
  uint32_t structBytes;
  /* ModuleDesc::formatMajor of the modules it makes. */
  uint32_t moduleFormatMajor;
  /* Changes whenever the generated code may: version, revision, LLVM. */
  const char *buildId;
  /* Fills `result`, of which `structBytes` is set and the rest is zero. */
  void (*compile)(const QuernCompileRequest *request,
                  QuernCompileResult *result);
  void (*release)(QuernCompileResult *result);
} QuernCompiler;

/* The library's entry point; the struct lives as long as the library. */
typedef const QuernCompiler *(*QuernCompilerEntry)(void);
#define QUERN_COMPILER_ENTRY "quern_compiler_v0"

#ifdef __cplusplus
}
#endif

#endif // QUERN_JIT_COMPILERABI_H
