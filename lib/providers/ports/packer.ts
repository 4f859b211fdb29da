/** Packer, in our words: one build of one template, as a child process that always gets the time to clean up. */

export interface PackerBuild {
  /** Holds the template's `*.pkr.hcl` files. */
  readonly directory: string
  /** Where the build's own commands run. */
  readonly workingDirectory: string
  /** For the template's variables; shown in the process list, so never a secret. One that the template does not declare is an error. */
  readonly variables: Readonly<Record<string, string>>
  /** The same, but left out where the template does not declare them. */
  readonly optionalVariables: Readonly<Record<string, string>>
  /** One line of Packer's own output, without secrets. */
  readonly onLine: (line: string) => void
  readonly signal: AbortSignal
}

export interface Packer {
  /**
   * Runs the build to its end. Ends it as an interrupt at the terminal would when `signal` aborts, and then waits for its clean-up.
   * @throws LandfallError config (not installed, wrong template) | cancelled | timeout | vendor (the build failed)
   */
  build(build: PackerBuild): Promise<{ readonly snapshotId?: string }>
}
