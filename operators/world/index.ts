export { RenderWorld, WorldScenes } from "./world.ts"
export { WorldPart, WorldSet } from "./WorldPorts.ts"
