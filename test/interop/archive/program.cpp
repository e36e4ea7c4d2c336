// A plain C++ program that knows nothing of Torchkeep: it trains nothing, it only saves and loads a module with torch::save and torch::load.
// usage: program write|read PATH   ->   a line per tensor: name, dtype, sizes, bytes in hex
#include <torch/torch.h>

#include <cstdio>
#include <string>

struct Net : torch::nn::Module {
  Net() {
    conv = register_module("conv", torch::nn::Conv2d(1, 3, 2));
    norm = register_module("norm", torch::nn::BatchNorm2d(3));
    head = register_module("head", torch::nn::Linear(3, 2));
    scale = register_parameter("scale", torch::ones({}, torch::kFloat64));
  }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
  torch::nn::Linear head{nullptr};
  torch::Tensor scale;
};

static void print(const std::string& name, const torch::Tensor& tensor) {
  const auto contiguous = tensor.detach().contiguous();
  std::printf("%s %s [", name.c_str(), std::string(torch::toString(contiguous.scalar_type())).c_str());
  for (int64_t dim = 0; dim < contiguous.dim(); ++dim) std::printf(dim == 0 ? "%lld" : ",%lld", static_cast<long long>(contiguous.size(dim)));
  std::printf("] ");
  const auto* bytes = static_cast<const unsigned char*>(contiguous.data_ptr());
  for (size_t i = 0; i < contiguous.nbytes(); ++i) std::printf("%02x", bytes[i]);
  std::printf("\n");
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  torch::manual_seed(7);
  auto net = std::make_shared<Net>();
  if (std::string(argv[1]) == "write") {
    torch::save(net, argv[2]);
  } else {
    torch::NoGradGuard noGrad;
    for (auto& parameter : net->parameters()) parameter.zero_();  // so that what is printed below can only come from the file
    torch::load(net, argv[2]);
  }
  for (const auto& item : net->named_parameters()) print(item.key(), item.value());
  for (const auto& item : net->named_buffers()) print(item.key(), item.value());
}
