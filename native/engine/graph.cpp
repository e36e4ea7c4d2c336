#include "engine/graph.h"

#include <algorithm>
#include <unordered_map>

#include "engine/error.h"
#include "engine/graph_argument.h"
#include "engine/graph_reader.h"
#include "engine/schema.h"

namespace torchkeep::engine {
namespace {

/// `torch.ops.aten.add.Tensor` -> `aten::add`, `Tensor`.
c10::OperatorHandle resolveOperator(const std::string& target, const std::string& where) {
  const std::string prefix = "torch.ops.";
  const size_t dot = target.find('.', prefix.size());
  const size_t lastDot = target.rfind('.');
  if (target.rfind(prefix, 0) != 0 || dot == std::string::npos || lastDot == dot)
    rejectGraph(where, "the target is not supported");
  const std::string name =
      target.substr(prefix.size(), dot - prefix.size()) + "::" + target.substr(dot + 1, lastDot - dot - 1);
  try {
    return findOperator(name, target.substr(lastDot + 1));
  } catch (const Error& error) {
    rejectGraph(where, error.what());
  }
}

/// Whether constant arguments keep the operator from drawing: dropout that is switched off or drops nothing.
bool drawsNothing(const c10::FunctionSchema& schema, const std::vector<Argument>& arguments) {
  const bool isDropout = schema.name().find("dropout") != std::string::npos;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].kind != Argument::Kind::Constant) continue;
    const std::string& name = schema.arguments()[i].name();
    const c10::IValue& value = arguments[i].elements.front().constant;
    if ((name == "train" || name == "training") && value.isBool() && !value.toBool()) return true;
    if ((name == "dropout" || name == "dropout_p" || (isDropout && name == "p")) && value.isDouble() &&
        value.toDouble() == 0)
      return true;
  }
  return false;
}

TensorMeta readTensorMeta(const Value& meta, const std::string& where) {
  TensorMeta result{scalarTypeOfExport(asInt(field(meta, "dtype", where), where), where), {}, {}};
  for (const Value& size : asList(field(meta, "sizes", where), where)) {
    const auto [kind, value] = asUnion(size, where);
    result.sizes.push_back(kind == "as_int" ? std::optional(asInt(value, where)) : std::nullopt);
  }
  return result;
}

class GraphCompiler {
 public:
  GraphCompiler(const Value& graphModule, const std::string& label, c10::Device device)
      : tree_(field(graphModule, "graph", label)), signature_(field(graphModule, "signature", label)), device_(device) {
    graph_.label = label;
  }

  Graph compile() {
    compileInputs();
    for (const Value& node : asList(field(tree_, "nodes", graph_.label), graph_.label)) compileNode(node);
    compileOutputs();
    noteLastReaders();
    graph_.slots = slots_.size();
    return std::move(graph_);
  }

 private:
  static constexpr size_t neverRead = SIZE_MAX;

  Slot define(const std::string& name, const std::string& where) {
    const Slot slot = static_cast<Slot>(slots_.size());
    if (!slots_.emplace(name, slot).second) rejectGraph(where, "the value \"" + name + "\" is defined twice");
    lastReader_.push_back(neverRead);
    return slot;
  }

  Slot read(const std::string& name, const std::string& where) {
    const auto found = slots_.find(name);
    if (found == slots_.end()) rejectGraph(where, "the value \"" + name + "\" is not defined before it is read");
    lastReader_[static_cast<size_t>(found->second)] = graph_.nodes.size();
    return found->second;
  }

  void compileInputs() {
    for (const Value& spec : asList(field(signature_, "input_specs", graph_.label), graph_.label)) {
      const std::string where = graph_.label + ", input " + std::to_string(graph_.inputs.size());
      const auto [kind, value] = asUnion(spec, where);
      if (kind == "parameter") {
        addInput(GraphInput::Kind::Parameter, field(value, "arg", where),
                 asString(field(value, "parameter_name", where), where), where);
      } else if (kind == "buffer") {
        addInput(GraphInput::Kind::Buffer, field(value, "arg", where),
                 asString(field(value, "buffer_name", where), where), where);
      } else if (kind == "tensor_constant") {
        addInput(GraphInput::Kind::Constant, field(value, "arg", where),
                 asString(field(value, "tensor_constant_name", where), where), where);
      } else if (kind == "user_input") {
        const auto [argKind, arg] = asUnion(field(value, "arg", where), where);
        if (argKind != "as_tensor")
          rejectGraph(where, "user inputs of the kind \"" + argKind + "\" are not supported, only tensors");
        addInput(GraphInput::Kind::User, arg, asString(field(arg, "name", where), where), where);
      } else if (kind != "constant_input") {  // a constant input has been written into the nodes
        rejectGraph(where, "inputs of the kind \"" + kind + "\" are not supported");
      }
    }
  }

  void addInput(GraphInput::Kind kind, const Value& arg, const std::string& name, const std::string& where) {
    const std::string& valueName = asString(field(arg, "name", where), where);
    GraphInput input{kind, name, define(valueName, where), false, {}};
    const Value* values = find(tree_, "tensor_values");
    const Value* meta = values == nullptr ? nullptr : find(*values, valueName.c_str());
    if (meta != nullptr) input.meta = readTensorMeta(*meta, where + " (\"" + name + "\")");
    graph_.inputs.push_back(std::move(input));
  }

  void compileNode(const Value& exported) {
    Node node;
    node.target = asString(field(exported, "target", graph_.label), graph_.label);
    const Value* name = find(exported, "name");
    const bool isNamed = name != nullptr && std::holds_alternative<std::string>(*name);
    node.name = isNamed ? std::get<std::string>(*name) : std::to_string(graph_.nodes.size());
    const std::string where = describeNode(node);
    const List& inputs = asList(field(exported, "inputs", where), where);

    node.symbolic = findSymbolicFunction(node.target);
    if (node.symbolic != nullptr) {
      const SlotOf slotOf = [&](const std::string& value) { return read(value, where); };
      for (const Value& input : inputs)
        node.arguments.push_back(compileSymbolicArgument(field(input, "arg", where), slotOf, where));
    } else {
      node.op = resolveOperator(node.target, where);
      compileArguments(node, inputs, where);
      node.random = drawsRandomNumbers(*node.op) && !drawsNothing(node.op->schema(), node.arguments);
      graph_.random |= node.random;
    }
    compileNodeOutputs(node, asList(field(exported, "outputs", where), where), where);
    graph_.nodes.push_back(std::move(node));
  }

  /// Arguments are named; those left out take the schema's defaults.
  void compileArguments(Node& node, const List& inputs, const std::string& where) {
    std::unordered_map<std::string, const Value*> given;
    for (const Value& input : inputs) given[asString(field(input, "name", where), where)] = &field(input, "arg", where);
    for (const c10::Argument& argument : node.op->schema().arguments()) {
      const std::string place = where + ", argument \"" + argument.name() + "\"";
      const auto found = given.find(argument.name());
      if (found != given.end()) {
        const SlotOf slotOf = [&](const std::string& value) { return read(value, place); };
        node.arguments.push_back(compileArgument(*found->second, argument, *node.op, device_, slotOf, place));
        given.erase(found);
      } else if (argument.default_value().has_value()) {
        node.arguments.push_back({Argument::Kind::Constant, {{noSlot, *argument.default_value()}}});
      } else {
        rejectGraph(place, "expected a value, found none");
      }
    }
    if (!given.empty()) rejectGraph(where, "the operator has no argument \"" + given.begin()->first + "\"");
  }

  void compileNodeOutputs(Node& node, const List& outputs, const std::string& where) {
    for (const Value& output : outputs) node.outputs.push_back(compileOutput(output, where));
    const size_t expected = node.op ? node.op->schema().returns().size() : 1;
    if (node.outputs.size() != expected) {
      rejectGraph(where,
                  "expected " + std::to_string(expected) + " outputs, found " + std::to_string(node.outputs.size()));
    }
  }

  Output compileOutput(const Value& exported, const std::string& where) {
    const auto [kind, value] = asUnion(exported, where);
    if (kind == "as_none") return {{noSlot}, false};
    if (kind == "as_tensor") return {{define(asString(field(value, "name", where), where), where)}, false};
    if (kind == "as_sym_int" || kind == "as_sym_float" || kind == "as_sym_bool") {
      const auto [symbolicKind, name] = asUnion(value, where);
      return {{symbolicKind == "as_name" ? define(asString(name, where), where) : noSlot}, false};
    }
    if (kind == "as_tensors") {
      Output list{{}, true};
      for (const Value& tensor : asList(value, where))
        list.slots.push_back(define(asString(field(tensor, "name", where), where), where));
      return list;
    }
    rejectGraph(where, "outputs of the kind \"" + kind + "\" are not supported");
  }

  void compileOutputs() {
    for (const Value& spec : asList(field(signature_, "output_specs", graph_.label), graph_.label)) {
      const std::string where = graph_.label + ", output " + std::to_string(graph_.outputs.size());
      const auto [kind, value] = asUnion(spec, where);
      const Value& arg = field(value, "arg", where);
      if (kind == "user_output") {
        const auto [argKind, tensor] = asUnion(arg, where);
        if (argKind != "as_tensor")
          rejectGraph(where, "user outputs of the kind \"" + argKind + "\" are not supported, only tensors");
        graph_.outputs.push_back({read(asString(field(tensor, "name", where), where), where), {}});
      } else if (kind == "buffer_mutation") {
        const Slot slot = read(asString(field(arg, "name", where), where), where);
        graph_.outputs.push_back({slot, asString(field(value, "buffer_name", where), where)});
      } else {
        rejectGraph(where, "outputs of the kind \"" + kind + "\" are not supported");
      }
    }
  }

  /// Values are dropped after their last reader; those that nobody reads are not kept at all.
  void noteLastReaders() {
    for (GraphInput& input : graph_.inputs) {
      const size_t last = lastReader_[static_cast<size_t>(input.slot)];
      input.used = last != neverRead;
      if (input.kind == GraphInput::Kind::User && input.used && last < graph_.nodes.size())
        graph_.nodes[last].frees.push_back(input.slot);
    }
    for (Node& node : graph_.nodes) {
      for (Output& output : node.outputs) {
        for (Slot& slot : output.slots) {
          if (slot == noSlot) continue;
          const size_t last = lastReader_[static_cast<size_t>(slot)];
          if (last == neverRead) {
            slot = noSlot;
          } else if (last < graph_.nodes.size()) {
            graph_.nodes[last].frees.push_back(slot);
          }
        }
      }
    }
  }

  std::string describeNode(const Node& node) const {
    return graph_.label + ", node \"" + node.name + "\" (" + node.target + ")";
  }

  const Value& tree_;
  const Value& signature_;
  const c10::Device device_;
  Graph graph_;
  std::unordered_map<std::string, Slot> slots_;
  /// By slot: the number of the node that reads it last; the number of nodes where an output does.
  std::vector<size_t> lastReader_;
};

}  // namespace

Graph compileGraph(const Value& graphModule, const std::string& label, c10::Device device) {
  return GraphCompiler(graphModule, label, device).compile();
}

}  // namespace torchkeep::engine
