"""Temporally precise action spotting in soccer video with dense detection anchors."""
