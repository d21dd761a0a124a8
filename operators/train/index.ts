export { Train } from "./train.ts"
export { TrainVae } from "./trainVae.ts"
