export * as Attributes from "./Attributes.ts"
export * as Outline from "./Outline.ts"
export * as Render from "./Render.ts"
export * as Scene from "./Scene.ts"
