#include "engine/schema.h"

#include <ATen/ScalarOps.h>
#include <ATen/core/Generator.h>

#include <cmath>

#include "engine/generator.h"
#include "engine/names.h"
#include "engine/tensor.h"

namespace torchkeep::engine {
namespace {

constexpr double kSafeInteger = 9007199254740992.0;  // 2^53

std::string describe(const Value& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(int64_t value) const { return std::to_string(value); }
    std::string operator()(double value) const {
      std::array<char, 32> text{};
      std::snprintf(text.data(), text.size(), "%.17g", value);
      return text.data();
    }
    std::string operator()(const std::complex<double>&) const { return "a complex number"; }
    std::string operator()(const std::string& value) const {
      return value.size() <= 60 ? "'" + value + "'" : "a long string";
    }
    std::string operator()(const TensorPtr& value) const {
      return "a tensor of " + dtypeName(value->value.scalar_type()) + " " + c10::str(value->value.sizes());
    }
    std::string operator()(const GeneratorPtr&) const { return "a generator"; }
    std::string operator()(const List& list) const { return "a list of " + std::to_string(list.size()); }
    std::string operator()(const Dict&) const { return "an object"; }
  };
  return std::visit(Visitor{}, static_cast<const Value::variant&>(value));
}

/// Which argument a conversion is for; the text is made only for messages.
struct Place {
  const c10::OperatorHandle& op;
  const c10::Argument& argument;

  std::string text() const { return operatorName(op) + ": argument '" + argument.name() + "'"; }
  [[noreturn]] void reject(const std::string& expected, const Value& found) const {
    throw Error(ErrorCode::InvalidArgument,
                text() + " (" + argument.real_type()->str() + "): expected " + expected + ", found " + describe(found));
  }
};

bool isIntegral(double number) { return std::trunc(number) == number && std::abs(number) <= kSafeInteger; }

int64_t toInt(const Value& value, const Place& place) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
  if (const auto* number = std::get_if<double>(&value); number != nullptr && isIntegral(*number))
    return static_cast<int64_t>(*number);
  place.reject("an integer", value);
}

double toFloat(const Value& value, const Place& place) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  place.reject("a number", value);
}

at::Scalar toScalar(const Value& value, const Place& place) {
  if (const auto* number = std::get_if<double>(&value)) {
    // -0 stays a float: an int has no negative zero.
    if (isIntegral(*number) && !(*number == 0 && std::signbit(*number))) return static_cast<int64_t>(*number);
    return *number;
  }
  if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* number = std::get_if<std::complex<double>>(&value)) return c10::complex<double>(*number);
  place.reject("a number", value);
}

at::Tensor toTensor(const Value& value, const Place& place) {
  if (const auto* tensor = std::get_if<TensorPtr>(&value)) return (*tensor)->value;
  if (std::holds_alternative<double>(value) || std::holds_alternative<int64_t>(value) ||
      std::holds_alternative<bool>(value) || std::holds_alternative<std::complex<double>>(value)) {
    return at::native::wrapped_scalar_tensor(toScalar(value, place));
  }
  place.reject("a tensor or a number", value);
}

const std::string& toName(const Value& value, const Place& place, const char* expected) {
  const auto* name = std::get_if<std::string>(&value);
  if (name == nullptr) place.reject(expected, value);
  return *name;
}

/// `real` says what is asked for, `boxed` how the boxed calling convention carries it (dtypes as int, SymInt as int).
c10::IValue convert(const Value& value, const c10::Type& real, const c10::Type& boxed, const Place& place);

c10::IValue convertList(const Value& value, const c10::ListType& real, const c10::Type& boxed, const Place& place) {
  const auto& boxedElement = boxed.expectRef<c10::ListType>().getElementType();
  // The dispatcher's lists of symbolic ints accept plain ints.
  const bool symbolic = boxedElement->kind() == c10::TypeKind::SymIntType;
  c10::impl::GenericList result(symbolic ? c10::TypePtr(c10::IntType::get()) : boxedElement);
  const auto convertElement = [&](const Value& element) {
    return convert(element, *real.getElementType(), *boxedElement, place);
  };
  if (const auto* list = std::get_if<List>(&value)) {
    result.reserve(list->size());
    for (const Value& element : *list) result.push_back(convertElement(element));
    return result;
  }
  // int[2] takes one int for both, as in Python.
  if (place.argument.N().has_value() && !std::holds_alternative<TensorPtr>(value)) {
    const c10::IValue element = convertElement(value);
    for (int32_t i = 0; i < *place.argument.N(); i++) result.push_back(element);
    return result;
  }
  place.reject("a list", value);
}

c10::IValue convert(const Value& value, const c10::Type& real, const c10::Type& boxed, const Place& place) {
  switch (real.kind()) {
    case c10::TypeKind::OptionalType: {
      if (value.isNull()) return {};
      const auto* inner = boxed.castRaw<c10::OptionalType>();
      const auto& realInner = real.expectRef<c10::OptionalType>().getElementType();
      return convert(value, *realInner, inner != nullptr ? *inner->getElementType() : *realInner, place);
    }
    case c10::TypeKind::TensorType:
      return toTensor(value, place);
    case c10::TypeKind::NumberType:
      return toScalar(value, place);
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return toInt(value, place);
    case c10::TypeKind::FloatType:
    case c10::TypeKind::SymFloatType:
      return toFloat(value, place);
    case c10::TypeKind::BoolType:
    case c10::TypeKind::SymBoolType:
      if (const auto* flag = std::get_if<bool>(&value)) return *flag;
      place.reject("a boolean", value);
    case c10::TypeKind::StringType:
      return toName(value, place, "a string");
    case c10::TypeKind::ScalarTypeType:
      return static_cast<int64_t>(parseDtype(toName(value, place, "a dtype's name"), place.text()));
    case c10::TypeKind::LayoutType:
      return static_cast<int64_t>(parseLayout(toName(value, place, "a layout's name"), place.text()));
    case c10::TypeKind::MemoryFormatType:
      return static_cast<int64_t>(parseMemoryFormat(toName(value, place, "a memory format's name"), place.text()));
    case c10::TypeKind::DeviceObjType:
      return parseDevice(toName(value, place, "a device's name"), place.text());
    case c10::TypeKind::GeneratorType:
      if (const auto* generator = std::get_if<GeneratorPtr>(&value)) return (*generator)->value;
      place.reject("a generator", value);
    case c10::TypeKind::ListType:
      return convertList(value, real.expectRef<c10::ListType>(), boxed, place);
    default:
      throw Error(ErrorCode::InvalidArgument, place.text() + ": arguments of type " + real.str() + " cannot be passed");
  }
}

const c10::Type* elementType(const c10::Type* type) {
  if (type == nullptr) return nullptr;
  if (const auto* list = type->castRaw<c10::ListType>()) return list->getElementType().get();
  return nullptr;
}

Value fromInt(int64_t value, const c10::Type* type) {
  if (type == nullptr) return value;
  switch (type->kind()) {
    case c10::TypeKind::ScalarTypeType:
      return dtypeName(static_cast<c10::ScalarType>(value));
    case c10::TypeKind::LayoutType:
      return layoutName(static_cast<c10::Layout>(value));
    case c10::TypeKind::MemoryFormatType:
      return memoryFormatName(static_cast<c10::MemoryFormat>(value));
    default:
      return value;
  }
}

}  // namespace

c10::OperatorHandle findOperator(const std::string& op, const std::string& overload) {
  const auto found = c10::Dispatcher::singleton().findSchema({op, overload == "default" ? "" : overload});
  if (!found.has_value()) {
    const std::string name = overload.empty() ? op : op + "." + overload;
    throw Error(ErrorCode::InvalidArgument,
                "there is no operator " + name + " (expected a schema name such as aten::add.Tensor)");
  }
  return *found;
}

std::string operatorName(const c10::OperatorHandle& op) { return c10::toString(op.operator_name()); }

bool drawsRandomNumbers(const c10::OperatorHandle& op) { return op.hasTag(at::Tag::nondeterministic_seeded); }

c10::IValue toIValue(const Value& value, const c10::Argument& argument, const c10::OperatorHandle& op) {
  const c10::Type& real = *argument.real_type();
  if (value.isNull() && real.kind() != c10::TypeKind::OptionalType && argument.default_value().has_value())
    return *argument.default_value();
  return convert(value, real, *argument.type(), Place{op, argument});
}

Value fromIValue(const c10::IValue& value, const c10::Type* type) {
  if (type != nullptr && type->kind() == c10::TypeKind::OptionalType)
    type = type->expectRef<c10::OptionalType>().getElementType().get();
  if (value.isNone()) return {};
  if (value.isTensor()) return value.toTensor().defined() ? Value(wrap(value.toTensor())) : Value();
  if (value.isBool()) return value.toBool();
  if (value.isInt()) return fromInt(value.toInt(), type);
  if (value.isDouble()) return value.toDouble();
  if (value.isComplexDouble())
    return std::complex<double>(value.toComplexDouble().real(), value.toComplexDouble().imag());
  if (value.isString()) return value.toStringRef();
  if (value.isDevice()) return value.toDevice().str();
  if (value.isGenerator()) return wrapGenerator(value.toGenerator());
  if (value.isList()) {
    List list;
    for (const c10::IValue& element : value.toListRef()) list.push_back(fromIValue(element, elementType(type)));
    return list;
  }
  if (value.isTuple()) {
    List list;
    for (const c10::IValue& element : value.toTupleRef().elements()) list.push_back(fromIValue(element));
    return list;
  }
  throw Error(ErrorCode::InvalidArgument, "a value of kind " + value.tagKind() + " cannot cross to JavaScript");
}

}  // namespace torchkeep::engine
