"""A proxy in front of an OpenAI-compatible server: what clients send is put behind a defence on its way.

It fails closed: a request whose images cannot be put behind the defence is refused, and never sent as it came.
"""
