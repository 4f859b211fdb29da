/** What a program on a simulated machine ends with. */

export interface Outcome {
  readonly exitCode: number
  readonly stdout?: string
  readonly stderr?: string
}

/** `name=value` lines, then others as they are. */
export const lines = (values: Readonly<Record<string, string | number>>, more: readonly string[] = []): Outcome => ({
  exitCode: 0,
  stdout: [...Object.entries(values).map(([name, value]) => `${name}=${value}`), ...more].map(line => `${line}\n`).join(''),
})

export const fail = (exitCode: number, message: string): Outcome => ({ exitCode, stderr: `${message}\n` })
