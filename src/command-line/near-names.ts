export { nearNames } from '../format/near-names.js'
