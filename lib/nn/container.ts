import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

/** Modules one after another, named `'0'`, `'1'`... */
export class Sequential extends Module {
  static readonly pythonName: string = 'torch.nn.modules.container.Sequential'

  constructor(...modules: Module[]) {
    super()
    modules.forEach((module, i) => this.registerModule(String(i), module))
  }

  override forward(input: Tensor): Tensor {
    return [...this.namedChildren().values()].reduce((value, module) => module.call(value) as Tensor, input)
  }
}
