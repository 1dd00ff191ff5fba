"""The command `wigeup`, in parts: arguments, recordings to send, running them, writing what came back."""
