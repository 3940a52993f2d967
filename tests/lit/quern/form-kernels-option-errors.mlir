// RUN: not quern-opt %s "-pass-pipeline=builtin.module(func.func(quern-form-kernels{fuse=some}))" 2>&1 | FileCheck %s
// CHECK: quern_form_kernels_c1: fuse is `all` or `none`, not `some`
func.func @f() {
  return
}
