// An operation of the quern dialect that leaks into the kernel layer fails to
// parse there: tile-opt knows tile alone, quern-opt knows both.
//
// REQUIRES: quern-opt, tile-opt
// RUN: not tile-opt %s 2>&1 | FileCheck %s
// RUN: quern-opt %s | FileCheck %s --check-prefix=BOTH

// CHECK: error: Dialect `quern' not found for custom op 'quern.constant'
// BOTH: quern.constant

%0 = quern.constant 1.0 : f32 : tensor<f32>
