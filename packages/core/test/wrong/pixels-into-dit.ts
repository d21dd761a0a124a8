import { Caption, Clip, Dit, Embed, Graph } from "./ports.ts"

export default Graph.make("pixels-into-dit", { version: "1.0.0" }, (g) => {
  const text = g.input("captions", Caption).pipe(Embed())
  // error: edge clips -> dit: dit takes Latent
  return { latents: g.input("clips", Clip).pipe(Dit({ steps: 4 }).with({ text })) }
})
