// Arithmetic of symbolic sizes: Python's numbers, so floor division and modulo follow the divisor's sign and `/` gives
// a float.
#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>

#include "engine/error.h"
#include "engine/graph_argument.h"

namespace torchkeep::engine {
namespace {

using c10::IValue;
using Arguments = std::vector<IValue>;

[[noreturn]] void rejectNumber(const std::string& problem) { throw Error(ErrorCode::InvalidArgument, problem); }

bool isFloat(const IValue& value) { return value.isDouble(); }

int64_t toInt(const IValue& value) { return value.isBool() ? static_cast<int64_t>(value.toBool()) : value.toInt(); }

double toFloat(const IValue& value) { return value.isDouble() ? value.toDouble() : static_cast<double>(toInt(value)); }

bool truth(const IValue& value) { return isFloat(value) ? value.toDouble() != 0 : toInt(value) != 0; }

bool bothBool(const Arguments& x) { return x.at(0).isBool() && x.at(1).isBool(); }

int64_t floorDivide(int64_t a, int64_t b) {
  if (b == 0) rejectNumber("integer division by zero");
  const int64_t quotient = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? quotient - 1 : quotient;
}

int64_t power(int64_t base, int64_t exponent) {
  if (exponent < 0)
    rejectNumber("expected a non-negative exponent of a symbolic size, found " + std::to_string(exponent));
  int64_t result = 1;
  for (int64_t i = 0; i < exponent; ++i) result *= base;
  return result;
}

/// Applies the float form if any operand is a float, else the int form.
template <typename IntForm, typename FloatForm>
IValue arithmetic(const Arguments& x, IntForm intForm, FloatForm floatForm) {
  if (isFloat(x.at(0)) || isFloat(x.at(1))) return IValue(floatForm(toFloat(x[0]), toFloat(x[1])));
  return IValue(intForm(toInt(x[0]), toInt(x[1])));
}

template <typename Compare>
IValue comparison(const Arguments& x, Compare compare) {
  return arithmetic(x, compare, compare);
}

IValue truncated(const Arguments& x) {
  return isFloat(x.at(0)) ? IValue(static_cast<int64_t>(std::trunc(x[0].toDouble()))) : x[0];
}

double pythonModulo(double a, double b) {
  const double remainder = std::fmod(a, b);
  return remainder != 0 && ((remainder < 0) != (b < 0)) ? remainder + b : remainder;
}

const std::unordered_map<std::string, SymbolicFunction>& symbolicFunctions() {
  static const std::unordered_map<std::string, SymbolicFunction> functions{
      {"_operator.add",
       [](const Arguments& x) {
         return arithmetic(x, [](int64_t a, int64_t b) { return a + b; }, [](double a, double b) { return a + b; });
       }},
      {"_operator.sub",
       [](const Arguments& x) {
         return arithmetic(x, [](int64_t a, int64_t b) { return a - b; }, [](double a, double b) { return a - b; });
       }},
      {"_operator.mul",
       [](const Arguments& x) {
         return arithmetic(x, [](int64_t a, int64_t b) { return a * b; }, [](double a, double b) { return a * b; });
       }},
      {"_operator.floordiv",
       [](const Arguments& x) {
         return arithmetic(x, floorDivide, [](double a, double b) { return std::floor(a / b); });
       }},
      {"_operator.mod",
       [](const Arguments& x) {
         return arithmetic(x, [](int64_t a, int64_t b) { return a - b * floorDivide(a, b); }, pythonModulo);
       }},
      {"_operator.pow",
       [](const Arguments& x) { return arithmetic(x, power, [](double a, double b) { return std::pow(a, b); }); }},
      {"_operator.truediv", [](const Arguments& x) { return IValue(toFloat(x.at(0)) / toFloat(x.at(1))); }},
      {"_operator.neg",
       [](const Arguments& x) { return isFloat(x.at(0)) ? IValue(-x[0].toDouble()) : IValue(-toInt(x[0])); }},
      {"_operator.pos", [](const Arguments& x) { return x.at(0); }},
      {"_operator.lshift", [](const Arguments& x) { return IValue(toInt(x.at(0)) * power(2, toInt(x.at(1)))); }},
      {"_operator.rshift",
       [](const Arguments& x) { return IValue(floorDivide(toInt(x.at(0)), power(2, toInt(x.at(1))))); }},
      {"_operator.eq", [](const Arguments& x) { return comparison(x, [](auto a, auto b) { return a == b; }); }},
      {"_operator.ne", [](const Arguments& x) { return comparison(x, [](auto a, auto b) { return a != b; }); }},
      {"_operator.lt", [](const Arguments& x) { return comparison(x, [](auto a, auto b) { return a < b; }); }},
      {"_operator.le", [](const Arguments& x) { return comparison(x, [](auto a, auto b) { return a <= b; }); }},
      {"_operator.gt", [](const Arguments& x) { return comparison(x, [](auto a, auto b) { return a > b; }); }},
      {"_operator.ge", [](const Arguments& x) { return comparison(x, [](auto a, auto b) { return a >= b; }); }},
      {"_operator.and_",
       [](const Arguments& x) {
         return bothBool(x) ? IValue(truth(x[0]) && truth(x[1])) : IValue(toInt(x[0]) & toInt(x[1]));
       }},
      {"_operator.or_",
       [](const Arguments& x) {
         return bothBool(x) ? IValue(truth(x[0]) || truth(x[1])) : IValue(toInt(x[0]) | toInt(x[1]));
       }},
      {"math.trunc", truncated},
      {"torch.sym_int", truncated},
      {"torch.sym_float", [](const Arguments& x) { return IValue(toFloat(x.at(0))); }},
      {"torch.sym_not", [](const Arguments& x) { return IValue(!truth(x.at(0))); }},
      {"torch.sym_ite", [](const Arguments& x) { return truth(x.at(0)) ? x.at(1) : x.at(2); }},
      {"torch.sym_max",
       [](const Arguments& x) {
         return arithmetic(
             x, [](int64_t a, int64_t b) { return std::max(a, b); }, [](double a, double b) { return std::max(a, b); });
       }},
      {"torch.sym_min",
       [](const Arguments& x) {
         return arithmetic(
             x, [](int64_t a, int64_t b) { return std::min(a, b); }, [](double a, double b) { return std::min(a, b); });
       }},
      {"torch._sym_sqrt", [](const Arguments& x) { return IValue(std::sqrt(toFloat(x.at(0)))); }},
  };
  return functions;
}

}  // namespace

SymbolicFunction findSymbolicFunction(const std::string& target) {
  const auto found = symbolicFunctions().find(target);
  return found == symbolicFunctions().end() ? nullptr : found->second;
}

}  // namespace torchkeep::engine
