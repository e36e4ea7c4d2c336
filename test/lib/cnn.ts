/** The network that the tests of lib share, in both languages. */
import { cat, nn, type Tensor } from '../../lib/index.js'

/** Convolution, batch norm, pooling, dropout, an in-place operator, a slice and tied weights. Inputs [N, 1, 12, 12], 5 classes. */
export class Cnn extends nn.Module {
  conv = new nn.Conv2d(1, 4, 3, { padding: 1 })
  bn = new nn.BatchNorm2d(4)
  pool = new nn.MaxPool2d(2)
  drop = new nn.Dropout(0.25)
  head = new nn.Sequential(new nn.Flatten(), new nn.Linear(144, 5), new nn.ReLU({ inplace: true }), new nn.Linear(5, 5))
  last = new nn.Linear(5, 5)

  constructor() {
    super()
    this.last.weight = (this.head.namedChildren().get('3') as nn.Linear).weight
  }

  override forward(images: Tensor): Tensor {
    const features = this.drop.call(this.pool.call(this.bn.call(this.conv.call(images)).relu()))
    const scores = this.head.call(features).add(1)
    return this.last.call(cat([scores, scores.mul(2.5)], 1).at({}, { end: 5 }))
  }
}

/** `Cnn` for a Python program. */
export const pythonCnn = `
class Cnn(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(4)
        self.pool = torch.nn.MaxPool2d(2)
        self.drop = torch.nn.Dropout(0.25)
        self.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 5), torch.nn.ReLU(inplace=True), torch.nn.Linear(5, 5))
        self.last = torch.nn.Linear(5, 5)
        self.last.weight = self.head[3].weight
    def forward(self, args_0):
        features = self.drop(self.pool(torch.relu(self.bn(self.conv(args_0)))))
        scores = self.head(features) + 1
        return self.last(torch.cat([scores, scores * 2.5], 1)[:, :5])
`
