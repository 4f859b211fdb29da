/** Building images here and keeping them in a registry, as the cluster's steps need it. */

import type { Secret } from '../../secret.ts'

export interface RegistryLogin {
  /** Host, with its port where it has one. */
  readonly url: string
  readonly username: string
  readonly password: Secret
}

export interface ImageWish {
  readonly directory: string
  readonly dockerfile: string
  readonly stage?: string
  /** `host/path:tag`, which the image is pushed as. */
  readonly reference: string
}

export interface Images {
  /** `sha256:…` of what the registry has under a reference; undefined when it has nothing. */
  findDigest(reference: string): Promise<string | undefined>
  /** Builds and pushes; `say` is told what Docker prints. */
  createImage(wish: ImageWish, say: (line: string) => void, signal: AbortSignal): Promise<void>
}
