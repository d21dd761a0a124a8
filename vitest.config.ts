import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["**/test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", "**/wrong/**"],
    typecheck: { include: ["**/test/**/*.test-d.ts"], exclude: ["**/node_modules/**", "**/dist/**"] },
  },
})
