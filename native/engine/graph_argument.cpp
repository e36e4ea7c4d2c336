#include "engine/graph_argument.h"

#include <ATen/ScalarOps.h>

#include "engine/error.h"
#include "engine/graph_reader.h"
#include "engine/schema.h"

namespace torchkeep::engine {
namespace {

/// The schema's type without Optional.
c10::TypePtr wantedType(const c10::Argument& schema) {
  const c10::TypePtr& type = schema.real_type();
  if (const auto optional = type->cast<c10::OptionalType>()) return optional->getElementType();
  return type;
}

bool wantsTensor(const c10::Argument& schema) { return wantedType(schema)->kind() == c10::TypeKind::TensorType; }

bool isNumber(const std::string& kind) { return kind == "as_int" || kind == "as_float" || kind == "as_bool"; }

Argument constant(c10::IValue value) { return {Argument::Kind::Constant, {{noSlot, std::move(value)}}}; }

/// `toIValue` with a failure that begins with `where`.
c10::IValue convert(const Value& value, const c10::Argument& schema, const c10::OperatorHandle& op,
                    const std::string& where) {
  try {
    return toIValue(value, schema, op);
  } catch (const Error& error) {
    rejectGraph(where, error.what());
  }
}

/// A Python float stays a float where the schema takes any number or a tensor; `toIValue` would make 2.0 an int there.
c10::IValue floatConstant(double number, const c10::Argument& schema, const c10::OperatorHandle& op,
                          const std::string& where) {
  if (wantsTensor(schema)) return at::native::wrapped_scalar_tensor(number);
  if (wantedType(schema)->kind() == c10::TypeKind::NumberType) return number;
  return convert(Value(number), schema, op, where);
}

/// A number of a symbolic union: `{as_name}` or `{as_int}`, `{as_float}`, `{as_bool}`.
Element symbolicElement(const Value& exported, const SlotOf& slotOf, const std::string& where) {
  const auto [kind, value] = asUnion(exported, where);
  if (kind == "as_name") return {slotOf(asString(value, where)), {}};
  if (kind == "as_int") return {noSlot, asInt(value, where)};
  if (kind == "as_float") return {noSlot, asFloat(value, where)};
  if (kind == "as_bool") return {noSlot, asBool(value, where)};
  rejectGraph(where, "\"" + kind + "\" is not a symbolic number");
}

Argument symbolicList(Argument::Kind kind, const Value& exported, const SlotOf& slotOf, const std::string& where) {
  Argument argument{kind, {}};
  for (const Value& element : asList(exported, where))
    argument.elements.push_back(symbolicElement(element, slotOf, where));
  return argument;
}

/// A single symbolic number for a schema that may want a tensor, a list or the number itself.
Argument symbolicNumber(const Value& exported, const c10::Argument& schema, const c10::OperatorHandle& op,
                        const SlotOf& slotOf, const std::string& where) {
  Element element = symbolicElement(exported, slotOf, where);
  if (element.slot == noSlot) {
    if (element.constant.isDouble()) return constant(floatConstant(element.constant.toDouble(), schema, op, where));
    if (element.constant.isBool()) return constant(convert(Value(element.constant.toBool()), schema, op, where));
    return constant(convert(Value(element.constant.toInt()), schema, op, where));
  }
  if (wantsTensor(schema)) return {Argument::Kind::WrappedNumber, {element}};
  if (wantedType(schema)->kind() == c10::TypeKind::ListType) {
    return {Argument::Kind::IntList, std::vector<Element>(static_cast<size_t>(schema.N().value_or(1)), element)};
  }
  return {Argument::Kind::Value, {element}};
}

Element tensorElement(const Value& tensorArgument, const SlotOf& slotOf, const std::string& where) {
  return {slotOf(asString(field(tensorArgument, "name", where), where)), {}};
}

/// `{as_tensor: {name}}` or `{as_none: true}`.
Element optionalTensorElement(const Value& exported, const SlotOf& slotOf, const std::string& where) {
  const auto [kind, value] = asUnion(exported, where);
  if (kind == "as_none") return {};
  if (kind == "as_tensor") return tensorElement(value, slotOf, where);
  rejectGraph(where, "\"" + kind + "\" is not an optional tensor");
}

Argument tensorList(const Value& exported, const c10::Argument& schema, const c10::OperatorHandle& op,
                    const SlotOf& slotOf, const std::string& where) {
  const List& names = asList(exported, where);
  if (names.empty()) return constant(convert(Value(List{}), schema, op, where));
  const auto list = wantedType(schema)->cast<c10::ListType>();
  if (list == nullptr)
    rejectGraph(where, "the operator expects " + schema.real_type()->str() + ", found a list of tensors");
  const bool optional = list->getElementType()->kind() == c10::TypeKind::OptionalType;
  Argument argument{optional ? Argument::Kind::OptionalTensorList : Argument::Kind::TensorList, {}};
  for (const Value& name : names) argument.elements.push_back(tensorElement(name, slotOf, where));
  return argument;
}

/// A list of plain numbers or strings, converted element by element and then as the schema asks.
template <typename Read>
c10::IValue constantList(const Value& exported, const c10::Argument& schema, const c10::OperatorHandle& op,
                         const std::string& where, Read read) {
  List list;
  for (const Value& element : asList(exported, where)) list.emplace_back(read(element, where));
  return convert(Value(std::move(list)), schema, op, where);
}

/// Kinds without slots.
std::optional<c10::IValue> compileConstant(const std::string& kind, const Value& value, const c10::Argument& schema,
                                           const c10::OperatorHandle& op, c10::Device device,
                                           const std::string& where) {
  if (kind == "as_none") return c10::IValue();
  if (kind == "as_bool") return convert(Value(asBool(value, where)), schema, op, where);
  if (kind == "as_int") return convert(Value(asInt(value, where)), schema, op, where);
  if (kind == "as_float") return floatConstant(asFloat(value, where), schema, op, where);
  if (kind == "as_complex") {
    const double re = asFloat(field(value, "real", where), where);
    const double im = asFloat(field(value, "imag", where), where);
    return convert(Value(std::complex<double>(re, im)), schema, op, where);
  }
  if (kind == "as_string") return convert(Value(asString(value, where)), schema, op, where);
  if (kind == "as_ints") return constantList(value, schema, op, where, asInt);
  if (kind == "as_floats") return constantList(value, schema, op, where, asFloat);
  if (kind == "as_bools") return constantList(value, schema, op, where, asBool);
  if (kind == "as_strings") return constantList(value, schema, op, where, asString);
  if (kind == "as_scalar_type") return c10::IValue(scalarTypeOfExport(asInt(value, where), where));
  if (kind == "as_layout") return c10::IValue(layoutOfExport(asInt(value, where), where));
  if (kind == "as_memory_format") return c10::IValue(memoryFormatOfExport(asInt(value, where), where));
  if (kind == "as_device") return c10::IValue(device);
  return std::nullopt;
}

}  // namespace

Argument compileArgument(const Value& exported, const c10::Argument& schema, const c10::OperatorHandle& op,
                         c10::Device device, const SlotOf& slotOf, const std::string& where) {
  // Export turns cuDNN off in the graph when it runs on the CPU; where the session runs decides, as in Python.
  if (schema.name() == "cudnn_enabled") return constant(device.is_cuda());
  const auto [kind, value] = asUnion(exported, where);
  if (kind == "as_tensor") return {Argument::Kind::Value, {tensorElement(value, slotOf, where)}};
  if (kind == "as_tensors") return tensorList(value, schema, op, slotOf, where);
  if (kind == "as_optional_tensor") {
    Element element = optionalTensorElement(value, slotOf, where);
    return {element.slot == noSlot ? Argument::Kind::Constant : Argument::Kind::Value, {element}};
  }
  if (kind == "as_optional_tensors") {
    Argument argument{Argument::Kind::OptionalTensorList, {}};
    for (const Value& element : asList(value, where))
      argument.elements.push_back(optionalTensorElement(element, slotOf, where));
    return argument;
  }
  if (kind == "as_sym_int" || kind == "as_sym_float" || kind == "as_sym_bool")
    return symbolicNumber(value, schema, op, slotOf, where);
  if (kind == "as_sym_ints") return symbolicList(Argument::Kind::IntList, value, slotOf, where);
  if (kind == "as_sym_floats") return symbolicList(Argument::Kind::DoubleList, value, slotOf, where);
  if (kind == "as_sym_bools") return symbolicList(Argument::Kind::BoolList, value, slotOf, where);
  if (auto made = compileConstant(kind, value, schema, op, device, where)) return constant(std::move(*made));
  rejectGraph(where, "arguments of the kind \"" + kind + "\" are not supported");
}

Argument compileSymbolicArgument(const Value& exported, const SlotOf& slotOf, const std::string& where) {
  const auto [kind, value] = asUnion(exported, where);
  Element element = isNumber(kind) ? symbolicElement(exported, slotOf, where) : symbolicElement(value, slotOf, where);
  return {element.slot == noSlot ? Argument::Kind::Constant : Argument::Kind::Value, {element}};
}

}  // namespace torchkeep::engine
