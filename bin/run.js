#!/usr/bin/env node
import { execute } from '@oclif/core'

void execute({ dir: import.meta.url })
