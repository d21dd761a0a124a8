import { defineConfig } from "vitest/config"

// Type tests (`*.test-d.ts`) are compiled by `tsc -b`: a solution file gives vitest nothing to check.
export default defineConfig({
  test: {
    include: ["**/test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", "**/wrong/**"],
    // Tests of processes and clusters share the cores: a busy machine is no failure.
    testTimeout: 180_000,
    hookTimeout: 240_000,
  },
})
