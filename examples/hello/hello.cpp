// Quern in a C++ program: compile a layer, run it, look at the result.
#include <cstdio>
#include <quern/quern.h>

using namespace quern;

int main(int argc, char **argv) {
  auto layer = compileFile(argc > 1 ? argv[1] : "hello.qn");
  if (!layer)
    return std::fputs(layer.error().render().c_str(), stderr), 2;
  std::vector<float> halves(4 * 256, 0.5f), threes(128 * 256, 3.0f);
  auto x = Tensor::fromFloats(DType::F16, {4, 256}, halves);
  auto w = Tensor::fromFloats(DType::I8, {128, 256}, threes);
  auto s = Tensor::fromFloats(DType::F32, {128, 1}, std::vector(128, 0.01f));
  auto y = layer->call({*x, *w, *s});
  if (!y)
    return std::fputs(y.error().render().c_str(), stderr), 2;
  std::printf("%g\n", (*y)[0].toFloats()[0]); // 256 * 0.5 * 3 * 0.01 in f16
}
